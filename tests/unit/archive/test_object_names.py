"""Names of objects."""

from hypothesis import given
from hypothesis import strategies as st

from processor.archive.object_names import escape, read_name, record_key
from processor.ports.store import Position
from support.records import record
from topics.records import Status

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


@given(names, names)
def test_different_names_never_meet(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) is (one == other)


@given(names)
def test_an_escaped_name_is_harmless_anywhere(name: str) -> None:
    escaped = escape(name)
    assert 1 <= len(escaped) <= 120
    assert escaped.isascii()
    assert not set(escaped) & set('./\\:*?"<>|%\n ')


@given(names, names, st.sampled_from(Status), st.integers(0, 9), st.integers(0, 2**50))
def test_a_name_tells_what_it_was_made_from(
    name: str, channel: str, status: Status, partition: int, offset: int
) -> None:
    key = record_key(record(name, channel=channel, status=status), Position(partition, offset))
    read = read_name(key, 5)
    assert read is not None
    assert (read.status, read.position, read.escaped_id) == (status, Position(partition, offset), escape(name))
