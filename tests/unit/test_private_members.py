"""No test changes the product from outside: what a test needs changed is an argument, and what it looks at is public."""

import ast
from collections.abc import Iterator

import pytest

from support.product_names import AREAS, found_in, imports_of

PATCHED = {"os.fsync"}
"""Functions of the standard library that a test may replace, because nothing else shows that they were called."""
PATCHES = {"setattr", "delattr", "__setattr__", "__delattr__", "setitem", "delitem"}
OWN = {"self", "cls"}


def is_private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.endswith("__")


def is_own(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in OWN


def is_changed(target: ast.expr, product: dict[str, str]) -> bool:
    """Whether this target of an assignment is a member of the product that a test may not set."""
    match target:
        case ast.Attribute(value=owner, attr=name):
            return (is_private(name) and not is_own(owner)) or is_of_product(owner, product)
        case ast.Subscript(value=ast.Attribute(value=owner, attr=name)):
            return (is_private(name) or name == "__dict__") and not is_own(owner)
        case ast.Subscript(value=ast.Call(func=ast.Name(id="vars"), args=[owner])):
            return not is_own(owner)
    return False


def is_of_product(node: ast.expr, product: dict[str, str]) -> bool:
    """Whether it is a module, a class or a function of the product, and no object made by a call."""
    text = ast.unparse(node)
    named = any(text == name or text.startswith(f"{name}.") for name in product)
    return named and not any(isinstance(each, ast.Call) for each in ast.walk(node))


def is_patch(call: ast.Call, product: dict[str, str]) -> bool:
    match call:
        case ast.Call(func=ast.Attribute(value=owner, attr="__new__")):
            return is_of_product(owner, product)
        case ast.Call(func=ast.Attribute(value=ast.Name(id="monkeypatch"), attr=name)) if name in PATCHES:
            return ".".join(map(_text_of, call.args[:2])) not in PATCHED
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), args=[owner, ast.Constant(value=member), *_]):
            private = is_private(member) and not is_own(owner)
            return name in PATCHES and (private or is_of_product(owner, product))
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), args=[owner, *_]):
            return name in PATCHES and is_of_product(owner, product)
    return False


def _text_of(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else ast.unparse(node)


def changes(text: str) -> Iterator[str]:
    """Statements of a test that change the product, or replace something of a library."""
    tree = ast.parse(text)
    product = imports_of(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
                found = is_changed(node, product)
            case ast.Call():
                found = is_patch(node, product)
            case ast.Import(names=names):
                found = any(alias.name.startswith("unittest.mock") for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                found = f"{module}.{names[0].name}".startswith("unittest.mock")
            case _:
                continue
        if found:
            yield f"{node.lineno}: {ast.unparse(node)}"


@pytest.mark.costly
@pytest.mark.parametrize("area", AREAS)
def test_no_test_changes_a_private_member(area: str) -> None:
    assert found_in(area, changes) == []


IMPORTS = "from processor.kafka import fetching\nfrom processor.archive.stream import ResponseConsumer\nimport processor.clock\n"


@pytest.mark.parametrize(
    "text",
    [
        "controls._producer = failing",
        "relay._workers[0] = worker",
        "del relay._workers[0]",
        "stream._app._consumer = consumer",
        "self.relay._parts = parts",
        "session._epoch += 1",
        "(a, worker._alarm) = 1, 2",
        "session._epoch: int = 1",
        "with lock() as worker._lock: ...",
        "for session._epoch in range(3): ...",
        "worker.__dict__['_alarm'] = alarm",
        "vars(worker)['_alarm'] = alarm",
        "fetching.MAX_BYTES = 1",
        "fetching.Fetching.fetch = fetch",
        "ResponseConsumer.confirm = confirm",
        "processor.clock.Clock.monotonic = monotonic",
        "ResponseConsumer.__new__(ResponseConsumer)",
        "setattr(session, '_epoch', 1)",
        "object.__setattr__(session, '_epoch', 1)",
        "delattr(session, '_epoch')",
        "setattr(ResponseConsumer, name, 1)",
        "monkeypatch.setattr(session, '_epoch', 1)",
        "monkeypatch.setattr(fetching.Fetching, '_aborted', f)",
        "monkeypatch.setattr(fetching, 'AIOKafkaConsumer', Client)",
        "monkeypatch.setattr('processor.kafka.fetching.RETRY', 1)",
        "monkeypatch.setattr(random, 'randrange', f)",
        "monkeypatch.setitem(relay.__dict__, 'a', 1)",
        "from unittest import mock",
        "from unittest.mock import patch",
        "import unittest.mock",
    ],
)
def test_a_change_from_outside_is_found(text: str) -> None:
    assert len(list(changes(IMPORTS + text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "self._epoch = 1",
        "self._workers[0] = 1",
        "self._epoch: int = 1",
        "setattr(self, name, 1)",
        "setattr(plan, name, value)",
        "session.epoch = 1",
        "fetching.Fetching(1).patience = 2",
        "names['a'] = 1",
        "monkeypatch.setattr(os, 'fsync', f)",
        "monkeypatch.setenv('HOME', '/tmp')",
    ],
)
def test_a_change_of_its_own_is_none(text: str) -> None:
    assert list(changes(IMPORTS + text)) == []
