"""The structure of the packages: pyproject.toml has the layers, this file what layers cannot express."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = sorted(path for package in ("topics", "processor") for path in (ROOT / package).rglob("*.py"))
# Each of these stays behind the package that knows its ways.
HOMES = {
    "ably": ("processor/ably/",),
    "aiokafka": (
        "processor/kafka/",
        "topics/producer.py",
        "topics/delivery.py",
        "topics/controls_reader.py",
        "topics/token_provider.py",
        "topics/bounded_fetches.py",
        "processor/archive/stream.py",  # Faust's client is this one
        "processor/archive/consumer_thread.py",
    ),
    "aiohttp": (
        "processor/api/",
        "processor/gateway/",
        "processor/telemetry/",
        "processor/bridge/",
        "processor/cli/top_command.py",  # ADR 8 has the reason
    ),
    "faust": ("processor/archive/",),
    "sqlalchemy": ("processor/archive/",),
    "alembic": ("processor/archive/",),
    "obstore": ("processor/archive/",),
    "httpx": ("processor/ably/",),
}
# What decides may import these: none of them reads a clock, draws chance, waits, logs or does I/O.
_OF_ALL = frozenset({"collections", "dataclasses", "enum", "msgspec", "orjson", "typing"})
PURE = {
    "processor/core": _OF_ALL | {"array", "bisect", "copy", "hashlib", "heapq", "itertools", "types"},
    "processor/ports": _OF_ALL | {"base64", "binascii", "functools", "hashlib", "json"},
    "processor/errors.py": _OF_ALL,
    "topics": _OF_ALL | {"hashlib", "json", "math", "re", "zlib"},
}
"""The modules that each may import. Of `topics` this holds for the part that the others import."""
OF_TOPICS = {"aiokafka", "cramjam", "msgspec", "orjson"}
"""A model service installs `topics` alone: these come with it, cramjam as aiokafka's."""


@functools.cache
def imported(path: Path) -> frozenset[str]:
    """The modules that a file imports, anywhere in it. One that is named by its distance keeps its dots."""
    return frozenset(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                origin = "." * level + (module or "")
                yield from (name if file_of(name := f"{origin}.{alias.name}") else origin for alias in names)


@functools.cache
def file_of(module: str) -> Path | None:
    """Where a module of this repository is; None for all others."""
    place = ROOT.joinpath(*module.split("."))
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def users(module: str) -> set[str]:
    """The product's files that import `module` or something in it."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in PRODUCT
        if any(name == module or name.startswith(f"{module}.") for name in imported(path))
    }


def test_imports_go_one_way() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("library", HOMES)
def test_a_foreign_library_stays_in_its_package(library: str) -> None:
    strangers = {path for path in users(library) if not path.startswith(HOMES[library])}
    assert strangers == set()


def part_of(path: Path) -> str | None:
    """The key in PURE of the part that a file belongs to."""
    return next((part for part in PURE if path.is_relative_to(ROOT / part)), None)


def not_pure(part: str) -> set[str]:
    """What is imported from a part that decides, directly or through others that it may import, and is not listed."""
    found, seen, left = set[str](), set[Path](), [path for path in PRODUCT if part_of(path) == part]
    while left:
        path = left.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in imported(path):
            place = file_of(name)
            if place is not None and part_of(place) is not None and place.name != "__init__.py":
                left.append(place)
            elif name.partition(".")[0] not in PURE[part_of(path) or ""]:
                found.add(f"{path.relative_to(ROOT)}: {name}")
    return found


@pytest.mark.parametrize("part", ["processor/core", "processor/ports"])
def test_what_decides_imports_only_what_is_listed(part: str) -> None:
    assert not_pure(part) == set()


def test_topics_imports_only_what_is_installed_with_it() -> None:
    strangers = {
        f"{path.name}: {name}"
        for path in (ROOT / "topics").rglob("*.py")
        for name in imported(path)
        if name.partition(".")[0] not in sys.stdlib_module_names | OF_TOPICS | {"topics"}
    }
    assert strangers == set()


def test_development_tools_import_nothing_of_the_tests() -> None:
    of_tests = {path.stem for path in (ROOT / "tests").iterdir() if not (ROOT / path.stem).exists()} | {"tests"}
    tools = (ROOT / "devtools").rglob("*.py")
    strangers = {
        f"{path.name}: {name}" for path in tools for name in imported(path) if name.partition(".")[0] in of_tests
    }
    assert strangers == set()


def test_only_the_command_line_knows_the_local_mode() -> None:
    strangers = {path for path in users("devtools") if not path.startswith(("devtools/", "processor/cli"))}
    assert strangers == set()
