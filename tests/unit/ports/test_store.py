"""What every store decides alike: which record replaces which, what can be stored, where a page ends, what a cursor is."""

import base64
import json

import pytest

from processor.errors import StoreRefused
from processor.ports.store import (
    Cursor,
    CursorInvalid,
    Page,
    Position,
    StoredResponse,
    check_storable,
    last_changed,
    merge_hydration,
    outdoes,
    page_of,
)
from support.records import record
from topics.codec import encode_response
from topics.limits import MAX_TIME_MS
from topics.records import ResponseRecord, Status

OPEN = record("r", status=Status.STREAMING, updated_at=5_000)
ENDED = record("r", updated_at=4_000)


def stored(response_id: str, started_at: int, status: Status = Status.COMPLETE) -> StoredResponse:
    value = encode_response(record(response_id, started_at=started_at, status=status))
    return StoredResponse(Position(0, started_at), response_id, value)


@pytest.mark.parametrize(
    ("new", "new_record", "old_finished", "replaces"),
    [
        (Position(0, 9), ENDED, True, False),
        (Position(0, 9), OPEN, True, False),
        (Position(0, 1), ENDED, False, True),
        (Position(0, 6), OPEN, False, True),
        (Position(0, 5), OPEN, False, False),
        (Position(1, 1), OPEN, False, True),
        (Position(1, 9), record("r", status=Status.STREAMING, updated_at=4_500), False, False),
    ],
)
def test_a_finished_record_stays_and_the_later_open_one_wins(
    new: Position, new_record: ResponseRecord, old_finished: bool, replaces: bool
) -> None:
    assert outdoes(new, new_record, Position(0, 5), old_finished=old_finished, old_updated_at=4_500) is replaces


@pytest.mark.parametrize(
    ("unfit", "reason"),
    [
        (record(""), "the response id has 0 bytes"),
        (record("i" * 10_000), "the response id has 10000 bytes"),
        (record("r", channel=""), "the channel's name has 0 bytes"),
        (record("r\0"), "NUL"),
        (record("r", channel="c\0"), "NUL"),
        (record("r", started_at=-1), "startedAt is -1"),
        (record("r", updated_at=MAX_TIME_MS + 1), "updatedAt is"),
    ],
)
def test_what_no_store_can_hold_is_refused(unfit: ResponseRecord, reason: str) -> None:
    check_storable(record("r"))
    with pytest.raises(StoreRefused, match=reason):
        check_storable(unfit)


def test_a_response_changed_last_when_it_ended_or_was_written() -> None:
    assert last_changed(OPEN) == OPEN.updated_at
    assert last_changed(ENDED) == ENDED.finished_at


@pytest.mark.parametrize("cursor", [Cursor(0, ""), Cursor(MAX_TIME_MS, "é日\ud7ff?/+"), Cursor(7, "r", open=True)])
def test_a_cursor_is_read_as_it_was_written(cursor: Cursor) -> None:
    assert Cursor.decode(cursor.encode()) == cursor
    assert Cursor.of(stored("r", 7), open=True) == Cursor(7, "r", open=True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "!",
        "é",
        "AAAA",
        *(
            base64.urlsafe_b64encode(json.dumps(place).encode()).decode()
            for place in ([], [1], ["1", "r"], [1, 2], [True, "r"], [-1, "r"], [MAX_TIME_MS + 1, "r"], [1, "\0"])
        ),
        base64.urlsafe_b64encode(b'[1,"r",2]').decode(),
        base64.urlsafe_b64encode(b"[" * 100_000).decode(),
    ],
)
def test_another_text_is_no_cursor(text: str) -> None:
    with pytest.raises(CursorInvalid, match="Invalid cursor"):
        Cursor.decode(text)


def test_a_response_that_ended_while_it_was_read_is_listed_once() -> None:
    running = [stored("a", 3, Status.STREAMING), stored("b", 2, Status.STREAMING)]
    page = merge_hydration(running, Page((stored("b", 2), stored("c", 1)), "next"))
    assert [(item.response_id, item.record.status) for item in page.items] == [
        ("a", Status.STREAMING),
        ("b", Status.COMPLETE),
        ("c", Status.COMPLETE),
    ]
    assert page.next == "next"


@pytest.mark.parametrize(
    ("sizes", "limit", "least", "taken"),
    [([], 5, 1, 0), ([1] * 9, 5, 1, 5), ([6, 6], 5, 1, 1), ([99, 1], 5, 1, 1), ([99], 5, 0, 0), ([5, 5, 1], 5, 1, 2)],
)
def test_a_page_ends_at_its_bytes_but_has_one_record(sizes: list[int], limit: int, least: int, taken: int) -> None:
    assert page_of(sizes, limit, 10, least=least) == taken


def test_records_with_equal_bytes_have_equal_hashes() -> None:
    assert stored("a", 1).sha256 == stored("a", 1).sha256 != stored("a", 2).sha256
