"""Every exception of the product has its place in the tree that `processor.errors` draws."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from processor import errors

ROOT = Path(__file__).parents[2]
ROOTS = {"TokenstreamError", "ApiError"}
FOREIGN = {
    "Exception",
    "BaseException",
    "ValueError",
    "RuntimeError",
    "TypeError",
    "KeyError",
    "OSError",
    "LookupError",
}


def classes() -> Iterator[tuple[str, list[str]]]:
    """Every class of the product with the names of its bases."""
    for path in [*(ROOT / "topics").rglob("*.py"), *(ROOT / "processor").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield (
                    node.name,
                    [base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases],
                )


@functools.cache
def bases_of_classes() -> dict[str, list[str]]:
    return dict(classes())


def ancestors(name: str) -> set[str]:
    bases = set(bases_of_classes().get(name, []))
    return bases.union(*(ancestors(base) for base in bases if base != name))


def exceptions() -> set[str]:
    return {name for name in bases_of_classes() if ancestors(name) & FOREIGN or name in ROOTS}


def test_every_exception_derives_from_the_root_or_answers_a_request() -> None:
    assert {"KafkaUnavailable", "RecordTooLargeError", "CursorInvalid"} <= exceptions()
    assert {name for name in exceptions() - ROOTS if not ancestors(name) & ROOTS} == set()


def test_every_exception_is_drawn_in_the_tree() -> None:
    drawing = errors.__doc__ or ""
    words = set(drawing.replace(",", " ").split())
    assert {name for name in exceptions() if name not in words} == set()


def test_what_needs_a_change_is_not_retried_unchanged() -> None:
    assert not issubclass(errors.RecordTooLarge, errors.Retryable)
    assert not issubclass(errors.RecordsGone, errors.Retryable)
