"""Every exception of the product has its place in the tree that `processor.errors` draws."""

import ast
import functools
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from processor import errors
from processor.errors import TokenstreamError
from processor.telemetry.answers import ApiError

ROOT = Path(__file__).parents[2]
BRANCHES = {"SettingsError", "Retryable", "Correctable", "Fatal", "DeliveryError"}
ROW = re.compile(r"([│ ]*)[├└]── (\w+(?:, \w+)*)")


@functools.cache
def product() -> dict[Path, ast.Module]:
    files = [path for package in ("topics", "processor") for path in (ROOT / package).rglob("*.py")]
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}


@functools.cache
def exceptions() -> dict[str, type[BaseException]]:
    """Every class of the product that can be raised, as Python has it: a library's error may be its base."""
    found = dict[str, type[BaseException]]()
    for path, tree in product().items():
        names = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        module = names and importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        found |= {name: made for name in names if issubclass(made := getattr(module, name), BaseException)}
    return found


def drawn() -> Iterator[tuple[str, str]]:
    """Each name of the drawing with the name that it is drawn under."""
    above = ["TokenstreamError"]
    for line in (errors.__doc__ or "").splitlines():
        if row := ROW.match(line):
            depth, names = len(row[1]) // 4, row[2].split(", ")
            above[depth + 1 :] = names[:1]
            yield from ((name, above[depth]) for name in names)


def caught() -> set[str]:
    """The names of the exceptions that the product catches."""
    handlers = [node for tree in product().values() for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    types = [node for handler in handlers if handler.type for node in ast.walk(handler.type)]
    return {node.id for node in types if isinstance(node, ast.Name)}


def test_every_exception_derives_from_the_root_or_answers_a_request() -> None:
    found = exceptions()
    assert {"KafkaUnavailable", "RecordTooLargeError", "CursorInvalid", "TokenUnreadable"} <= found.keys()
    assert [name for name, made in found.items() if not issubclass(made, TokenstreamError | ApiError)] == []


def test_every_exception_is_drawn_under_its_base() -> None:
    real = {
        (name, base.__name__)
        for name, made in exceptions().items()
        for base in made.__bases__
        if issubclass(base, TokenstreamError)
    }
    assert real == set(drawn())


def test_an_exception_outside_the_branches_is_caught_by_its_name() -> None:
    alone = {name for name, above in drawn() if above == "TokenstreamError"} - BRANCHES
    assert alone - caught() == set()


def test_what_needs_a_change_is_not_retried_unchanged() -> None:
    assert not issubclass(errors.RecordTooLarge, errors.Retryable)
    assert not issubclass(errors.RecordsGone, errors.Retryable)
