"""Reads the suites' JUnit reports, test by test."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET


@dataclass(frozen=True, slots=True)
class Outcome:
    """`failure` is empty for a test that passed; `skipped` for one the suite skips by itself."""

    suite: str
    file: str
    test: str
    failure: str = ""
    skipped: bool = False


def read(suite: str, file: str, report: Path) -> list[Outcome]:
    """One for each test; the same name twice is two tests."""
    return list(_outcomes(suite, file, ET.parse(report).getroot()))


def _outcomes(suite: str, file: str, root: ET.Element) -> Iterator[Outcome]:
    for case in root.iter("testcase"):
        broken = next((part for part in case if part.tag in {"failure", "error"}), None)
        test = " ".join((case.get("name") or "").split())
        if broken is None:
            yield Outcome(suite, file, test, skipped=case.find("skipped") is not None)
        else:
            yield Outcome(suite, file, test, _first_words(broken))


def _first_words(broken: ET.Element) -> str:
    text = f"{broken.get('message') or ''} {broken.text or ''}"
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return " ".join(text.split())[:4000] or "failed without a word"
