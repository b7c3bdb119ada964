"""Every relative link of the Markdown pages leads to a file, and every anchor to a heading."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from support.lab import ROOT
from support.pages import FENCE, pages, without_code

LINK = re.compile(r"\]\(([^)\s]+)(?: \"[^\"]*\")?\)|(?:src|srcset|href)=\"([^\"]+)\"")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:")


def anchors(text: str) -> set[str]:
    """Returns the anchors that GitHub gives to the headings of a page."""
    found: dict[str, int] = {}
    made = set()
    for heading in HEADING.findall(FENCE.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        count = found.get(anchor, 0)
        found[anchor] = count + 1
        made.add(f"{anchor}-{count}" if count else anchor)
    return made


def links(text: str) -> Iterator[str]:
    for found in LINK.finditer(without_code(text)):
        target = found[1] or found[2]
        if not ELSEWHERE.match(target):
            yield target


def broken(page: Path) -> Iterator[str]:
    for target in links(page.read_text()):
        path, _, anchor = target.partition("#")
        file = page.parent / unquote(path) if path else page
        if not file.exists():
            yield f"{target}: no such file"
        elif anchor and (file.suffix != ".md" or anchor not in anchors(file.read_text())):
            yield f"{target}: no such heading"


def test_the_pages_are_found() -> None:
    names = {str(page.relative_to(ROOT)) for page in pages()}
    assert {"README.md", "CHANGELOG.md", "docs/concepts.md", "clients/javascript/README.md"} <= names


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in pages()])
def test_every_relative_link_leads_somewhere(page: str) -> None:
    template = page == "devtools/faultlab/reliability.md"  # its links are those of the page that is made from it
    assert list(broken(ROOT / "docs" / "results" / "reliability.md" if template else ROOT / page)) == []


def test_a_broken_link_and_a_missing_heading_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Other\n\n## Two `words`, here\n\n```\n# no heading\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n[a](other.md#two-words-here) [b](gone.md) [c](other.md#no-heading) [d](#page) [e](https://example.com/x)\n"
        "`[f](code.md)`\n```\n[g](fenced.md)\n```\n"
    )
    assert list(broken(page)) == ["gone.md: no such file", "other.md#no-heading: no such heading"]
