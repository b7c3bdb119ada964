"""Rendered pages."""

import msgspec
import orjson
import pytest

from processor.api.render import PIECE_BYTES, render, render_page
from processor.api.responses import STORED_BYTES
from processor.ports.store import PAGE_BYTES, Position, StoredResponse
from support.records import record
from topics.codec import encode_response
from topics.records import Part


def stored(number: int, text: str) -> StoredResponse:
    name = f"r-{number}"
    return StoredResponse(Position(0, number), name, encode_response(record(name, text=text)))


@pytest.mark.parametrize("sizes", [(), (1,), (10, 20), (PIECE_BYTES,), (5, PIECE_BYTES, 5), (PIECE_BYTES // 2,) * 5])
def test_the_pieces_of_a_page_are_the_page(sizes: tuple[int, ...]) -> None:
    pieces = list(render_page([stored(n, "x" * size) for n, size in enumerate(sizes)], "next"))
    page = orjson.loads(b"".join(pieces))
    assert [len(item["text"]) for item in page["items"]] == list(sizes)
    assert page["next"] == "next"
    assert len(pieces) <= 1 + 2 * len(sizes)


def test_a_page_of_nothing_but_parts_is_within_its_bound() -> None:
    parts = tuple(Part(part=chr(48 + n), kind="t", text="", length=0) for n in range(64))
    value = encode_response(msgspec.structs.replace(record("r"), parts=parts))
    assert len(render(value)) / len(value) * STORED_BYTES < PAGE_BYTES
