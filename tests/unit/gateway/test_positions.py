"""Positions are opaque to readers, and any gateway reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.gateway.positions import MAX_POSITION_LENGTH, StreamPosition, decode_position

offsets = st.dictionaries(st.integers(0, 10_000), st.integers(-1, 2**62), max_size=50)


@given(offsets, st.booleans())
def test_a_position_is_read_as_it_was_written(at: dict[int, int], whole: bool) -> None:
    position = StreamPosition(at, whole=whole)
    assert decode_position(position.encode()) == position


@given(st.text(max_size=40))
def test_any_text_is_a_position_or_none(text: str) -> None:
    read = decode_position(text)
    assert read is None or read.encode()


@pytest.mark.parametrize("text", ["", "p2.0-1", "p1.0", "p1.0-", "p1.-1-2", "p1.0-1 ", "p1.0-1\n", "p1.٣-1", "1.0-1"])
def test_what_is_no_position_is_refused(text: str) -> None:
    assert decode_position(text) is None


def test_a_long_text_is_refused() -> None:
    assert decode_position("p1" + ".1-1" * MAX_POSITION_LENGTH) is None


def test_a_position_fits_a_header_line() -> None:
    text = StreamPosition({3: 41, 1: -1}).encode()
    assert text == "p1.1-0.3-42"
    assert text.isascii()
    assert text.isprintable()
