"""What the guards of the tests share: the tests' files by area, and the names by which a file refers to the product."""

import ast
from collections.abc import Callable, Iterable
from pathlib import Path

PRODUCT = ("processor", "topics")
TESTS = Path(__file__).parents[1]
FILES = sorted(TESTS.rglob("*.py"))
AREAS = sorted({path.relative_to(TESTS).parts[0] for path in FILES})


def found_in(area: str, find: Callable[[str], Iterable[str]]) -> list[str]:
    """Returns what `find` finds in the text of each file of an area, with the file's path."""
    return [
        f"{path.relative_to(TESTS)}: {each}"
        for path in FILES
        if path.relative_to(TESTS).parts[0] == area
        for each in find(path.read_text())
    ]


def imports_of(tree: ast.Module) -> dict[str, str]:
    """Names of the module -> what of the product they are, with its module."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.partition(".")[0] in PRODUCT:
                found |= {alias.asname or alias.name: f"{module}.{alias.name}" for alias in names}
            case ast.Import(names=names):
                found |= {
                    alias.asname or alias.name: alias.name for alias in names if alias.name.partition(".")[0] in PRODUCT
                }
    return found
