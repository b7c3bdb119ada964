"""When a partition is read with care, and when a record is given up unread."""

import pytest

from processor.core.items import Refused
from processor.relay.caution import CAUTIOUS_AFTER, POISON_AFTER, STRETCH, Caution, caution, poison_of, without
from processor.relay.commit_metadata import CommitMetadata, Trying
from processor.relay.takeover import beginning
from support.world import LogRecord
from topics.records import Reason

RECORDS = [LogRecord(offset, b"{}") for offset in range(5, 9)]


@pytest.mark.parametrize("attempts", range(CAUTIOUS_AFTER))
def test_a_few_unclean_ends_change_nothing(attempts: int) -> None:
    assert caution(CommitMetadata(attempts=attempts), attempts, 5, 100) is None


def test_more_of_them_and_all_that_is_there_is_read_in_stretches() -> None:
    care = caution(CommitMetadata(), CAUTIOUS_AFTER, 5, 10_000)
    assert care is not None
    assert (care.step, care.until) == (STRETCH, 10_000)


def test_few_records_are_read_one_by_one_at_once() -> None:
    care = caution(CommitMetadata(), CAUTIOUS_AFTER, 5, 5 + STRETCH)
    assert care is not None
    assert (care.step, care.until) == (1, 5 + STRETCH)


def test_where_nothing_is_unread_there_is_nothing_to_be_careful_with() -> None:
    assert caution(CommitMetadata(), 100, 5, 5) is None


def test_the_stretch_an_owner_ended_at_is_read_one_by_one() -> None:
    care = caution(CommitMetadata(trying=Trying(600, 1100, 1)), 1, 5, 9_000)
    assert care == Caution(1, 1100)


def test_an_orderly_end_forgets_a_stretch_and_keeps_a_suspect() -> None:
    assert caution(CommitMetadata(clean=True, trying=Trying(600, 700, 0)), 0, 5, 9_000) is None
    care = caution(CommitMetadata(clean=True, trying=Trying(600, 601, 1)), 0, 5, 9_000)
    assert care == Caution(1, 601, Trying(600, 601, 1))


def test_with_a_record_that_is_given_up_there_is_no_care() -> None:
    assert caution(CommitMetadata(trying=Trying(600, 601, POISON_AFTER)), 1, 5, 9_000) is None


def test_a_record_is_poison_only_once_it_was_tried_alone_often_enough() -> None:
    assert poison_of(CommitMetadata(trying=Trying(6, 7, POISON_AFTER - 1))) == {}
    assert poison_of(CommitMetadata(trying=Trying(6, 8, POISON_AFTER))) == {}
    assert list(poison_of(CommitMetadata(trying=Trying(6, 7, POISON_AFTER)))) == [6]
    assert list(poison_of(CommitMetadata(poison=(3, 9), trying=Trying(6, 7, 1)))) == [3, 9]


def test_only_the_suspect_has_ends_against_it() -> None:
    care = Caution(1, 9, Trying(6, 7, 1))
    care.add(RECORDS, 9)
    taken = [care.take() for _ in RECORDS]
    assert [care.marker(records) for records in taken] == [(5, 6, 0), (6, 7, 1), (7, 8, 0), (8, 9, 0)]
    assert [care.suspects(records) for records in taken] == [False, True, False, False]
    assert (care.take(), care.over, care.position) == ([], True, 9)


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
