"""Fakes are typed against the ports: no fake is a class of the product with something changed inside."""

import ast
import importlib
from collections.abc import Iterator

import pytest

from support.product_names import AREAS, found_in, imports_of

MEANT_FOR_IT = ("processor.errors", "processor.ports")
"""Errors have kinds, and ports are what a fake is typed against."""


def product_bases(text: str) -> Iterator[str]:
    """`class(base)` for every class, nested ones too, that derives from one of the product."""
    tree = ast.parse(text)
    known = imports_of(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for base in node.bases:
            written = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
            first, _, rest = written.partition(".")
            if first in known:
                full = f"{known[first]}.{rest}".rstrip(".")
                if not full.startswith(MEANT_FOR_IT):
                    yield f"{node.name}({full})"


@pytest.mark.costly
@pytest.mark.parametrize("area", AREAS)
def test_no_fake_derives_from_the_product(area: str) -> None:
    assert found_in(area, product_bases) == []


@pytest.mark.parametrize(
    "text",
    [
        "from processor.relay.relay import Relay\nclass R(Relay): ...",
        "import processor.relay.relay as r\nclass R(r.Relay): ...",
        "from processor.relay import relay\nclass R(A, relay.Relay): ...",
        "def f():\n from topics.codec import Decoder as D\n class R(D): ...",
    ],
)
def test_a_double_that_derives_is_found(text: str) -> None:
    assert len(list(product_bases(text))) == 1


def test_a_port_may_be_named_as_a_base() -> None:
    assert list(product_bases("from processor.ports.realtime import Link\nclass R(Link): ...")) == []
    assert importlib.import_module("processor.ports.realtime")
