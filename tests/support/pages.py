"""The Markdown pages of this repository, and what of them is prose."""

import re
import subprocess
from pathlib import Path

from support.lab import ROOT

FENCE = re.compile(r"^ *(```|~~~).*?^ *\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\([^)\s]*\)")


def pages() -> list[Path]:
    """Returns every page that is or will be committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def without_code(text: str) -> str:
    return CODE.sub("", FENCE.sub("", text))


def prose(text: str) -> str:
    """Returns the words of a page in one line: without code, and without the targets of links."""
    return " ".join(LINK.sub("]", without_code(text)).split())
