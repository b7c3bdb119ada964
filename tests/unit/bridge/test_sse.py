import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.bridge.sse import EventParser, EventTooLarge


def events_of(*pieces: bytes) -> list[bytes]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)] + parser.finish()


def feed_often(parser: EventParser, piece: bytes) -> None:
    for _ in range(20):
        parser.feed(piece)


def test_an_event_is_complete_at_its_empty_line() -> None:
    parser = EventParser()
    assert parser.feed(b'data: {"a":1}\n') == []
    assert parser.feed(b"\n") == [b'{"a":1}']


def test_comments_names_and_ids_mean_nothing() -> None:
    assert events_of(b": waiting\n\nevent: x\nid: 7\nretry: 10\ndata: a\n\n: still\ndata: b\n\n") == [b"a", b"b"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_each_kind_of_line_end_is_read(end: bytes) -> None:
    assert events_of(b"data: a" + end + end + b"data:b" + end + end) == [b"a", b"b"]


def test_a_line_end_may_be_cut_in_two() -> None:
    assert events_of(b"data: a\r", b"\n", b"\r", b"\n", b"data: b\n\n") == [b"a", b"b"]
    assert events_of(b"data: a\r", b"\n", b"\n", b"data: b\n\n") == [b"a", b"b"]


def test_several_data_lines_are_one_event() -> None:
    assert events_of(b"data: a\ndata:  b\ndata\ndata:\n\n") == [b"a\n b\n\n"]


def test_a_byte_order_mark_is_ignored() -> None:
    assert events_of(b"\xef\xbb\xbfdata: a\n\n") == [b"a"]


def test_the_last_empty_line_may_be_missing() -> None:
    assert events_of(b"data: a\n\ndata: [DONE]") == [b"a", b"[DONE]"]


def test_an_endless_line_is_refused() -> None:
    parser = EventParser(max_bytes=100)
    with pytest.raises(EventTooLarge):
        feed_often(parser, b"data: aaaaaa")


def test_an_endless_event_is_refused() -> None:
    parser = EventParser(max_bytes=100)
    with pytest.raises(EventTooLarge):
        feed_often(parser, b"data: aaaaaa\n")


LINES = st.lists(
    st.sampled_from([b"data: one", b"data:two", b"", b"", b": comment", b"event: x", "data: né 😀".encode()]),
    max_size=20,
)


@given(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.data())
def test_pieces_do_not_matter(lines: list[bytes], end: bytes, data: st.DataObject) -> None:
    whole = b"".join(line + end for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    pieces = [whole[begin:stop] for begin, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert events_of(*pieces) == events_of(whole)


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_no_bytes_raise(pieces: list[bytes]) -> None:
    assert all(isinstance(event, bytes) for event in events_of(*pieces))
