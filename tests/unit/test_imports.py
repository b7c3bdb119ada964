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
        "processor/gateway/",
        "processor/cli/top_command.py",
    ),  # `top` asks processes over HTTP
    "faust": ("processor/archive/",),
    "sqlalchemy": ("processor/archive/",),
    "alembic": ("processor/archive/",),
    "obstore": ("processor/archive/",),
}
OF_PORTS = ("processor.core", "processor.errors", "processor.ports", "topics")


@functools.cache
def imported(path: Path) -> frozenset[str]:
    return frozenset(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module
                yield from (f"{module}.{alias.name}" for alias in node.names)


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


def test_ports_import_only_types_and_the_standard_library() -> None:
    strangers = {
        f"{path.name}: {name}"
        for path in (ROOT / "processor" / "ports").glob("*.py")
        for name in imported(path)
        if name.partition(".")[0] not in sys.stdlib_module_names and not name.startswith(OF_PORTS)
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
