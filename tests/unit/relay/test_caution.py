"""When a partition is read with care, and when a record is given up unread."""

import pytest

from processor.core.items import Refused
from processor.relay.caution import CAUTIOUS_AFTER, POISON_AFTER, STRETCHES, Caution, caution, poison_of, without
from processor.relay.commit_metadata import CommitMetadata, Trying
from processor.relay.takeover import beginning
from support.world import LogRecord
from topics.records import Reason

RECORDS = [LogRecord(offset, b"{}") for offset in range(5, 9)]


@pytest.mark.parametrize("attempts", range(CAUTIOUS_AFTER))
def test_a_few_unclean_ends_change_nothing(attempts: int) -> None:
    assert caution(CommitMetadata(attempts=attempts), attempts, 5, 100) is None


@pytest.mark.parametrize(
    ("unread", "step"),
    [(10_000, 500), (501, 500), (500, 25), (26, 25), (25, 1), (1, 1)],
)
def test_more_of_them_and_what_is_unread_is_read_in_stretches(unread: int, step: int) -> None:
    care = caution(CommitMetadata(), CAUTIOUS_AFTER, 5, 5 + unread)
    assert care is not None
    assert (care.step, care.until) == (step, 5 + unread)


@pytest.mark.parametrize("unread", [25, 500, 2_000])
def test_a_backlog_costs_few_stretches(unread: int) -> None:
    care = caution(CommitMetadata(), CAUTIOUS_AFTER, 0, unread)
    assert care is not None
    care.add([LogRecord(offset, b"{}") for offset in range(unread)], unread)
    assert len(stretches(care)) <= 25


def test_an_end_in_a_stretch_makes_the_next_ones_smaller() -> None:
    sizes, tried = [], Trying(0, 10_000, 0)
    while not tried.single:
        care = caution(CommitMetadata(trying=tried), 1, 0, 10_000)
        assert care is not None
        care.add([LogRecord(offset, b"{}") for offset in range(tried.first, tried.end)], tried.end)
        tried = care.marker(care.next_records())
        sizes.append(tried.end - tried.first)
    assert sizes == list(STRETCHES)


def stretches(care: Caution) -> list[tuple[int, int]]:
    """First and last offset of all that is fed together before everything is read as usual."""
    found = []
    while not care.over:
        taken = care.next_records()
        found.append((taken[0].offset, taken[-1].offset))
    return found


def test_what_found_no_room_is_consumed_next() -> None:
    care = Caution(2, 9)
    care.add(RECORDS, 9)
    taken = care.next_records()
    care.put_back(taken[1:])
    assert [raw.offset for raw in care.next_records()] == [6, 7]
    assert not care.over


def test_where_nothing_is_unread_there_is_nothing_to_be_careful_with() -> None:
    assert caution(CommitMetadata(), 100, 5, 5) is None


def test_the_stretch_an_owner_ended_at_is_read_in_smaller_ones() -> None:
    assert caution(CommitMetadata(trying=Trying(600, 1_100, 0)), 1, 5, 9_000) == Caution(25, 1_100, since=600)
    assert caution(CommitMetadata(trying=Trying(600, 625, 0)), 1, 5, 9_000) == Caution(1, 625, since=600)


def test_what_owners_survived_before_a_stretch_is_read_at_once() -> None:
    care = caution(CommitMetadata(trying=Trying(600, 603, 0)), 1, 300, 9_000)
    assert care is not None
    care.add([LogRecord(offset, b"{}") for offset in range(300, 900)], 900)
    assert stretches(care) == [(300, 599), (600, 600), (601, 601), (602, 602)]


def test_what_comes_after_a_stretch_is_read_as_usual() -> None:
    care = Caution(1, 7)
    care.add(RECORDS, 9)
    assert stretches(care) == [(5, 5), (6, 6)]
    assert care.holds
    assert [raw.offset for raw in care.rest()] == [7, 8]
    assert not care.holds


def test_an_orderly_end_forgets_a_stretch_and_keeps_a_suspect() -> None:
    assert caution(CommitMetadata(clean=True, trying=Trying(600, 700, 0)), 0, 5, 9_000) is None
    care = caution(CommitMetadata(clean=True, trying=Trying(600, 601, 1)), 0, 5, 9_000)
    assert care == Caution(1, 601, Trying(600, 601, 1), since=600)


def test_with_a_record_that_is_given_up_there_is_no_care() -> None:
    assert caution(CommitMetadata(trying=Trying(600, 601, POISON_AFTER)), 1, 5, 9_000) is None


def test_a_record_is_poison_only_once_it_was_tried_alone_often_enough() -> None:
    assert poison_of(CommitMetadata(trying=Trying(6, 7, POISON_AFTER - 1))) == {}
    assert poison_of(CommitMetadata(trying=Trying(6, 8, POISON_AFTER))) == {}
    assert list(poison_of(CommitMetadata(trying=Trying(6, 7, POISON_AFTER)))) == [6]
    assert list(poison_of(CommitMetadata(poison=(3, 9), trying=Trying(6, 7, 1)))) == [3, 9]


def test_only_the_suspect_has_ends_against_it() -> None:
    care = Caution(1, 7, Trying(6, 7, 1), since=6)
    care.add(RECORDS, 9)
    taken = [care.next_records() for _ in range(2)]
    assert [care.marker(records) for records in taken] == [(5, 6, 0), (6, 7, 1)]
    assert [care.suspects(records) for records in taken] == [False, True]
    assert (care.over, care.position) == (True, 9)


def test_a_suspect_that_is_survived_is_none() -> None:
    care = Caution(1, 9, Trying(6, 7, 1))
    care.survived(6)
    assert care.suspect == Trying(6, 7, 1)
    care.survived(7)
    assert care.suspect is None


def test_only_the_poison_is_refused() -> None:
    taken = without(RECORDS, {6: "why"})
    assert [raw.offset for raw in taken] == [5, 6, 7, 8]
    (refused,) = [raw for raw in taken if isinstance(raw, Refused)]
    assert (refused.original, refused.reason, refused.detail, refused.value) == (RECORDS[1], Reason.POISON, "why", None)


def test_unclean_ends_are_counted_at_their_offset() -> None:
    def attempts(metadata: CommitMetadata) -> int:
        return beginning((5, metadata.encode()), 0, 100).attempts

    assert attempts(CommitMetadata(attempts=3)) == 4
    assert attempts(CommitMetadata(clean=True, attempts=3)) == 0
    assert beginning(None, 0, 100).attempts == 0
    assert beginning((200, CommitMetadata(attempts=3).encode()), 0, 100).attempts == 0


@pytest.mark.parametrize(
    "metadata",
    [
        CommitMetadata(),
        CommitMetadata(7, clean=True),
        CommitMetadata(7, attempts=2),
        CommitMetadata(7, trying=Trying(1, 2, 3)),
        CommitMetadata(7, poison=(1, 5)),
    ],
)
def test_metadata_survives_the_commit(metadata: CommitMetadata) -> None:
    assert CommitMetadata.decode(metadata.encode()) == metadata


def test_metadata_fits_the_bound_of_brokers() -> None:
    most = CommitMetadata(1 << 62, attempts=1 << 30, trying=Trying(1 << 62, 1 << 62, 9), poison=(1 << 62,) * 10_000)
    assert len(most.encode()) < 4096


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "7",
        '{"v":1}',
        '{"v":1,"restore":0,"clean":true,"trying":7}',
        '{"v":1,"restore":0,"clean":true,"trying":[1]}',
    ],
)
def test_metadata_of_another_kind_reads_as_none(text: str) -> None:
    assert CommitMetadata.decode(text) == CommitMetadata()
