"""Which records of a batch are stored, and which are set aside."""

import orjson

from processor.archive.batch import Arrival, newest_offsets, sort_out
from processor.kafka.dead_letter_writer import encoded
from processor.ports.store import Position
from support.records import entry, record
from topics.codec import encode_response
from topics.records import Reason, Status


def arrival(value: bytes | None, *, offset: int = 0, partition: int = 0, key: bytes | None = b"r-1") -> Arrival:
    return Arrival("responses", Position(partition, offset), key, value)


def snapshot(text: str, *, offset: int, partition: int = 0) -> Arrival:
    return arrival(
        encode_response(record("r-1", status=Status.STREAMING, text=text)), offset=offset, partition=partition
    )


def final(text: str, *, offset: int, partition: int = 0) -> Arrival:
    return arrival(encode_response(record("r-1", text=text)), offset=offset, partition=partition)


def stored(*batch: Arrival) -> list[tuple[int, str | None]]:
    entries = sort_out(batch).entries
    return [(one.position.offset, None if one.record is None else one.record.text) for one in entries]


def test_the_newest_record_of_a_response_is_stored_alone() -> None:
    assert stored(snapshot("a", offset=1), snapshot("ab", offset=2), final("abc", offset=3)) == [(3, "abc")]


def test_a_snapshot_after_the_final_record_is_not_stored() -> None:
    assert stored(final("abc", offset=3), snapshot("ab", offset=4)) == [(3, "abc")]


def test_the_first_of_two_final_records_is_stored() -> None:
    late = record("r-1", status=Status.ABANDONED, text="")
    opened_again = arrival(encode_response(late), offset=9)
    assert stored(final("abc", offset=3), opened_again) == [(3, "abc")]


def test_nothing_follows_a_tombstone() -> None:
    assert stored(final("abc", offset=3), arrival(None, offset=4), final("abc", offset=5)) == [(4, None)]


def test_the_finished_record_of_two_partitions_is_stored() -> None:
    assert stored(final("abc", offset=3, partition=1), snapshot("ab", offset=90, partition=2)) == [(3, "abc")]


def test_each_kind_of_nonsense_has_its_reason() -> None:
    later = orjson.dumps({"v": 2, "responseId": "r-1"})
    bad = [
        arrival(b"{"),
        arrival(b"[]"),
        arrival(b'{"v":1}'),
        arrival(later),
        arrival(None, key=None),
        arrival(None, key=b"\xff"),
    ]
    reasons = [one.reason for one in sort_out(bad).refused]
    assert reasons == [
        Reason.NOT_JSON,
        Reason.INVALID,
        Reason.INVALID,
        Reason.VERSION,
        Reason.NO_KEY,
        Reason.INVALID,
    ]


def test_offsets_are_told_for_each_partition_and_generation() -> None:
    batch = [Arrival("t", Position(p, o), None, None, g) for p, o, g in ((0, 1, 1), (0, 5, 1), (1, 2, 1), (0, 3, 2))]
    assert newest_offsets(batch) == {(0, 1): 5, (1, 1): 2, (0, 2): 3}


def test_a_dead_letter_is_the_record_unchanged_and_says_where_it_was() -> None:
    (refused,) = sort_out([arrival(b"nonsense", offset=7, partition=2)]).refused
    value, headers = encoded(refused.letter(), 1234)
    assert value == b"nonsense"
    assert dict(headers) == {
        "tokenstream-reason": b"not_json",
        "tokenstream-topic": b"responses",
        "tokenstream-partition": b"2",
        "tokenstream-offset": b"7",
        "tokenstream-time": b"1234",
        "tokenstream-detail": refused.detail.encode(),
    }
    assert refused.detail


def test_a_dead_letter_that_is_too_large_is_cut_and_told_whole() -> None:
    (refused,) = sort_out([arrival(b"x" * 5000)]).refused
    value, headers = encoded(refused.letter(), 1234, whole=1000)
    assert value == b"x" * 1000
    assert dict(headers)["tokenstream-size"] == b"5000"
    assert len(dict(headers)["tokenstream-sha256"] or b"") == 64


def test_an_entry_knows_its_response() -> None:
    assert entry("r-9").response_id == "r-9"
