"""The packages that any realtime service could be under name none, and know no number of one."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEUTRAL = ("core", "ports", "relay", "service", "telemetry", "reader")
CHOOSING = ("processor/service/relay_role.py", "processor/service/probe_role.py")
"""Composition roots: here the service is chosen, by settings that carry its name."""
PUBLIC = ("ably_connections",)
"""Names that are public and stay."""
OF_A_SERVICE = re.compile(
    r"(?<![a-z])ably|\b[45]\d{4}\b|\b[89]\d{4}\b|65[_,]?536|\b64 KiB|\b64 \* 1024(?! \* 1024)", re.IGNORECASE
)


def lines_of_a_service(text: str) -> list[str]:
    for name in PUBLIC:
        text = text.replace(name, "")
    return [line for line in text.splitlines() if OF_A_SERVICE.search(line)]


@pytest.mark.parametrize("package", NEUTRAL)
def test_a_neutral_package_knows_no_service(package: str) -> None:
    found = {
        path.relative_to(ROOT).as_posix(): lines
        for path in sorted((ROOT / "processor" / package).rglob("*.py"))
        if path.relative_to(ROOT).as_posix() not in CHOOSING and (lines := lines_of_a_service(path.read_text()))
    }
    assert found == {}


@pytest.mark.parametrize(
    "line",
    ["# as Ably has it", "if code == 40009:", "LIMIT = 65_536", "LIMIT = 64 * 1024", "from processor.ably import x"],
)
def test_the_search_finds_what_it_should(line: str) -> None:
    assert lines_of_a_service(line) == [line]
