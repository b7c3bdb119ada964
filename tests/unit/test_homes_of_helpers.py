"""What more than one test module uses is in `tests/support`: no test imports from another one."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PACKAGES = {"support", "simulation", "fuzz", "deploy"}
"""Programs and harnesses with modules of their own."""
AREAS = {path.name for path in TESTS.iterdir() if path.is_dir()} - PACKAGES
IMPORT = re.compile(
    rf"^\s*(?:from|import) ((?:{'|'.join(sorted(AREAS))}|(?:[a-z_]+\.)*test_[a-z_]+)\b.*)", re.MULTILINE
)


def imports_of_tests(text: str) -> list[str]:
    return IMPORT.findall(text)


def test_what_tests_share_is_in_support() -> None:
    found = [
        f"{path.relative_to(TESTS)}: {name}"
        for path in sorted(TESTS.rglob("*.py"))
        for name in imports_of_tests(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "from properties.test_partition import read",
        "import unit.devtools.emulator.world",
        "    from integration.cli.commands import tokenstream",
        "from test_partition import read",
        "from fuzz.test_batches import CORPUS",
    ],
)
def test_an_import_from_a_test_is_found(text: str) -> None:
    assert len(imports_of_tests(text)) == 1


@pytest.mark.parametrize(
    "text", ["from support.workloads import read", "import unittest", "from fuzz.batches import x"]
)
def test_other_imports_are_not(text: str) -> None:
    assert imports_of_tests(text) == []
