"""What archive and api ask of a store, and the values that pass between them.

A store keeps, of every response, its newest record: the exact bytes that were on the `responses` topic. All stores
keep the same promises; `tests/contract/test_response_store.py` holds each of them to these.
"""

import base64
import binascii
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Protocol

import orjson

from processor.errors import StoreRefused, TokenstreamError
from topics.codec import MAX_RESPONSE_ID_BYTES, decode_response
from topics.records import ResponseRecord, Status

PAGE_BYTES = 8 * 1024 * 1024
"""Where a page of records ends, whatever its limit; a single larger record is still a page."""
MAX_CHANNEL_BYTES = 1024
MARKER_DAYS = 14
"""How long it is remembered that a response was deleted: twice as long as the `responses` topic keeps records."""


class CursorInvalid(TokenstreamError):
    """The cursor is none that a page of this store gave."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where on the `responses` topic a record stands. Offsets compare within one partition only."""

    partition: int
    offset: int


@dataclass(frozen=True)
class Entry:
    """One record of the `responses` topic: `value` is exactly what was there; None is a tombstone."""

    position: Position
    response_id: str
    value: bytes | None
    record: ResponseRecord | None

    @classmethod
    def of(cls, position: Position, value: bytes) -> "Entry":
        """Raises ValueError where the value is no response record."""
        record = decode_response(value)
        return cls(position, record.response_id, value, record)


@dataclass(frozen=True)
class StoredResponse:
    """A record as the store gave it back. Decoding is left to who needs it."""

    position: Position
    response_id: str
    value: bytes

    @cached_property
    def record(self) -> ResponseRecord:
        return decode_response(self.value)

    @cached_property
    def sha256(self) -> str:
        """Of the record's bytes: equal exactly where Kafka's and the store's records are."""
        return hashlib.sha256(self.value).hexdigest()


@dataclass(frozen=True, slots=True)
class Page:
    """Newest `startedAt` first. `next` asks for what comes after; None at the end."""

    items: tuple[StoredResponse, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Held:
    """That a response is in the store, and what `verify` compares."""

    response_id: str
    finished: bool
    deleted: bool
    sha256: str


class Deletion(StrEnum):
    DELETED = "deleted"
    MISSING = "missing"
    OPEN = "open"
    """Nothing was removed: the response has not finished."""


@dataclass(frozen=True, slots=True)
class PruneReport:
    responses: int
    bytes: int


ChannelFilter = Callable[[str], bool]
Progress = Callable[[int, int | None], None]
"""Called with how many more are done since the last call, and how many there are where that is known."""


class ResponseStore(Protocol):
    """Every method may raise StoreUnavailable (try again later); nothing else of a driver's leaves a store.

    Any number of processes may use one store at a time.
    """

    async def start(self) -> None:
        """Make ready: connect, migrate what migrates by itself. Raises SchemaOutdated, naming the command that mends it."""

    async def upsert_batch(self, entries: Sequence[Entry], *, force: bool = False) -> None:
        """Store each entry whose (finished, offset) is above what is there; a tombstone deletes.

        Of two partitions the finished record wins. Where it returns, every entry is durable or was outdone. A response once
        deleted does not come back. At most one entry a response. Raises StoreRefused when an entry can't be stored
        for itself; others may be stored by then, and storing them again changes nothing. With `force` an entry replaces
        what is there, whatever that is: for repairs.
        """

    async def get(self, response_id: str) -> StoredResponse | None: ...

    async def list_channel(
        self,
        channel: str,
        *,
        limit: int,
        before: str | None = None,
        status: frozenset[Status] | None = None,
        max_bytes: int = PAGE_BYTES,
    ) -> Page:
        """A page by (startedAt, responseId), newest first. What is inserted meanwhile neither repeats nor hides others.

        Raises CursorInvalid.
        """

    async def hydrate(self, channel: str, *, limit: int, max_bytes: int = PAGE_BYTES) -> Page:
        """All open responses and the newest `limit` finished ones (fewer above `max_bytes`); `next` is for `list_channel`."""

    async def delete(self, response_id: str) -> Deletion:
        """Remove a finished response for good, as `upsert_batch` does for a tombstone."""

    def held(self, response_ids: Sequence[str]) -> AsyncIterator[Held]:
        """Which of these the store has, or knows as deleted."""

    def iterate(self, *, since: int | None = None) -> AsyncIterator[StoredResponse]:
        """Finished responses in no order, optionally only those that ended at or after `since` (ms)."""

    async def prune(
        self, *, older_than: int, channel: ChannelFilter, dry_run: bool, progress: Progress | None = None
    ) -> PruneReport:
        """Delete what last changed before `older_than` (ms), in small transactions; forget old deletions."""

    async def ping(self) -> None: ...

    async def close(self) -> None: ...


def check_storable(record: ResponseRecord) -> None:
    """The limits every store keeps. Raises StoreRefused, a sentence."""
    size = len(record.response_id.encode())
    if not 1 <= size <= MAX_RESPONSE_ID_BYTES:
        raise StoreRefused(f"the response id has {size} bytes; a store takes 1 to {MAX_RESPONSE_ID_BYTES}")
    size = len(record.channel.encode())
    if not 1 <= size <= MAX_CHANNEL_BYTES:
        raise StoreRefused(f"the channel's name has {size} bytes; a store takes 1 to {MAX_CHANNEL_BYTES}")
    if "\0" in record.response_id or "\0" in record.channel:
        raise StoreRefused("the response id or the channel's name holds a NUL character, which no store can look up")
    for name, at in (("startedAt", record.started_at), ("updatedAt", record.updated_at)):
        if not 0 <= at < 10**14:
            raise StoreRefused(f"{name} is {at}: no time in milliseconds that a store can order")


def last_changed(record: ResponseRecord) -> int:
    """By which age is told, in milliseconds."""
    return record.finished_at if record.finished_at is not None else record.updated_at


def outdoes(
    new: Position, new_record: ResponseRecord, old: Position, *, old_finished: bool, old_updated_at: int
) -> bool:
    """Whether a record replaces what the store has: the guard of `upsert_batch`, in one place for stores without SQL."""
    if new.partition == old.partition:
        return (new_record.finished, new.offset) > (old_finished, old.offset)
    if new_record.finished or old_finished:
        return new_record.finished and not old_finished
    return new_record.updated_at > old_updated_at


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place after one response in a channel's listing."""

    started_at: int
    response_id: str

    def encode(self) -> str:
        return base64.urlsafe_b64encode(orjson.dumps([self.started_at, self.response_id])).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        try:
            started_at, response_id = orjson.loads(
                base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
            )
        except (binascii.Error, ValueError, TypeError) as error:
            raise CursorInvalid("the cursor is none that a listing gave; begin again without `before`") from error
        if (
            type(started_at) is not int
            or not 0 <= started_at < 10**14
            or type(response_id) is not str
            or "\0" in response_id
        ):
            raise CursorInvalid("the cursor is none that a listing gave; begin again without `before`")
        return cls(started_at, response_id)


def merge_hydration(running: Iterable[StoredResponse], finished: Page) -> Page:
    """One list, newest first; what ended while it was read counts as finished."""
    ended = {item.response_id for item in finished.items}
    items = [*finished.items, *(item for item in running if item.response_id not in ended)]
    items.sort(key=lambda item: (item.record.started_at, item.response_id.encode()), reverse=True)
    return Page(tuple(items), finished.next)


def page_of(sizes: Sequence[int], limit: int, max_bytes: int) -> int:
    """How many of these, in order, a page takes: at most `limit`, at least one, and no more once `max_bytes` is passed."""
    total = 0
    for count, size in enumerate(sizes[:limit]):
        total += size
        if count and total > max_bytes:
            return count
    return min(len(sizes), limit)


class Tombstones(Protocol):
    """Writes to the log that a response is deleted."""

    async def write(self, response_id: str, partition: int) -> None:
        """Acknowledged when it returns. Raises KafkaUnavailable. `partition` is the one of the response's records."""
