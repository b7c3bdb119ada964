"""When a partition is read with care, and when a record is given up unread."""

import pytest

from processor.core.items import Refused
from processor.ingest.caution import CAUTIOUS_AFTER, POISON_AFTER, STRETCH, Caution, caution, poison_of, without
from processor.ingest.commit_metadata import CommitMetadata, Trying
from processor.ingest.takeover import beginning
from topics.records import Reason
from world import LogRecord

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


def test_a_clean_end_forgets_it() -> None:
    assert caution(CommitMetadata(clean=True, trying=Trying(600, 601, 1)), 0, 5, 9_000) is None


def test_a_record_is_poison_only_once_it_was_tried_alone_often_enough() -> None:
    assert poison_of(CommitMetadata(trying=Trying(6, 7, POISON_AFTER - 1))) == {}
    assert poison_of(CommitMetadata(trying=Trying(6, 8, POISON_AFTER))) == {}
    assert poison_of(CommitMetadata(clean=True, trying=Trying(6, 7, POISON_AFTER))) == {}
    assert list(poison_of(CommitMetadata(trying=Trying(6, 7, POISON_AFTER)))) == [6]


def test_another_record_than_the_suspect_counts_from_one() -> None:
    care = Caution(1, 9, Trying(6, 7, 1))
    care.add(RECORDS, 9)
    assert [care.marker(care.take()) for _ in RECORDS] == [(5, 6, 1), (6, 7, 2), (7, 8, 1), (8, 9, 1)]
    assert (care.take(), care.holds, care.position) == ([], False, 9)


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
    ],
)
def test_metadata_survives_the_commit(metadata: CommitMetadata) -> None:
    assert CommitMetadata.decode(metadata.encode()) == metadata


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
