"""Response records for tests, as on the `responses` topic."""

from typing import Any

from processor.ports.store import Entry, Position
from topics.codec import encode_response
from topics.records import Part, ResponseRecord, Status

DAY_MS = 86_400_000
START = 1_763_860_000_000


def record(
    response_id: str,
    *,
    channel: str = "chat:1",
    status: Status = Status.COMPLETE,
    text: str = "Hello",
    started_at: int = START,
    updated_at: int | None = None,
    **more: Any,
) -> ResponseRecord:
    at = updated_at if updated_at is not None else started_at + 1000
    return ResponseRecord(
        response_id=response_id,
        channel=channel,
        status=status,
        reason="stop" if status is Status.COMPLETE else None,
        parts=(Part(part="text", kind="text", text=text, length=len(text.encode("utf-16-le")) // 2),),
        seq=more.pop("seq", 2),
        tokens=1,
        started_at=started_at,
        first_token_at=started_at + 10,
        updated_at=at,
        finished_at=at if status.finished else None,
        **more,
    )


def entry(response_id: str, *, partition: int = 0, offset: int = 0, **fields: Any) -> Entry:
    return Entry.of(Position(partition, offset), encode_response(record(response_id, **fields)))


def tombstone(response_id: str, *, partition: int = 0, offset: int = 0) -> Entry:
    return Entry(Position(partition, offset), response_id, None, None)
