"""A response and the texts of its parts are changed by their own methods only, whoever decides that they change."""

import ast
from collections.abc import Iterator
from pathlib import Path

from processor.core.items import PartText
from processor.core.response import Response
from processor.core.response_state import ResponseState

ROOT = Path(__file__).parents[3]
OWN = {"response.py", "response_intake.py", "response_state.py"}
FIELDS = {*ResponseState.__slots__, *PartText.__slots__}
MUTATORS = {
    *("append", "appendleft", "extend", "extendleft", "insert", "add", "update", "setdefault"),
    *("pop", "popleft", "popitem", "remove", "clear", "promise", "cover"),
}
OTHERS = {"self", "lane", "entry", "counts", "decoding", "_outflow"}
"""Names of other objects that have a field of the same name."""


def writes(source: str) -> Iterator[str]:
    """Statements that change a field of a response, or a container in one."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=owner, attr=field, ctx=ast.Store() | ast.Del()):
                pass
            case ast.Subscript(value=ast.Attribute(value=owner, attr=field), ctx=ast.Store() | ast.Del()):
                pass
            case ast.Call(func=ast.Attribute(value=ast.Attribute(value=owner, attr=field), attr=name)) if (
                name in MUTATORS
            ):
                pass
            case _:
                continue
        if field in FIELDS and ast.unparse(owner).rpartition(".")[2] not in OTHERS:
            yield f"{node.lineno}: {ast.unparse(node)}"


def test_nobody_else_writes_to_a_response() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{write}"
        for path in (*(ROOT / "processor/core").glob("*.py"), *(ROOT / "processor/relay").glob("*.py"))
        if path.name not in OWN
        for write in writes(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_the_search_finds_each_kind_of_write() -> None:
    for wrong in (
        "response.next_seq = 1",
        "response.next_seq += 1",
        "save.response.record_offset = 1",
        "response.early[3] = early",
        "response.queue.append(item)",
        "del response.early[3]",
        "a, response.reason = 1, 2",
        "part.framed = True",
        "item.part.framed = True",
        "self.part.length += 1",
        "part._pieces.append(text)",
    ):
        assert list(writes(wrong)), wrong


def test_a_response_has_no_other_fields() -> None:
    assert not hasattr(Response("r", 0.0), "__dict__")
