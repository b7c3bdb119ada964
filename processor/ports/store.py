"""What archive and api need of a store, and the values that they exchange.

A store keeps the newest record of every response: the exact bytes from the `responses` topic.
All stores give the same guarantees; `tests/contract/test_response_store.py` tests each of them.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Protocol

from processor.errors import Fatal, StoreRefused
from topics.codec import MAX_RESPONSE_ID_BYTES, decode_response
from topics.limits import MAX_CHANNEL_BYTES, MAX_TIME_MS
from topics.records import ResponseRecord, Status

PAGE_BYTES = 8 * 1024 * 1024
"""Where a page of records ends, whatever its limit; a single larger record is still a page."""
OPEN_PAGE = 500
"""Open responses in one page of hydration, at most."""
STALE_MS = 86_400_000
"""An open response whose record the store has not replaced for so long has no tokens left on the log: no relay will
end it, and it may be deleted.
"""
MARKER_DAYS = 14
"""How long it is remembered that a response was deleted: twice as long as the `responses` topic keeps records."""


class CursorInvalid(Fatal):
    """The cursor was not returned by a page of this store."""

    def __init__(self) -> None:
        super().__init__("Invalid cursor. Omit `before` to start from the first page.")


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a record on the `responses` topic. Offsets compare only within one partition."""

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
class Summary:
    """What access, deletion and memory are decided by, read without the record."""

    position: Position
    response_id: str
    channel: str
    finished: bool
    size: int
    """Of the record, in bytes."""
    stored_at: int
    """When the store wrote the record, in milliseconds by the writer's clock: no producer decides it."""


@dataclass(frozen=True, slots=True)
class Page:
    """Newest `startedAt` first. `next` requests the following page; None at the end."""

    items: tuple[StoredResponse, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Held:
    """That a response is in the store, and what `verify` compares."""

    response_id: str
    finished: bool
    deleted: bool
    sha256: str
    position: Position | None = None
    """Of the stored record; None for a deletion."""
    changed_at: int = 0
    """When a finished record ended, in milliseconds."""


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


class EntryStore(Protocol):
    """Where the archive stores. Every method may raise StoreUnavailable (try again later); nothing else of a driver's
    leaves a store.

    Any number of processes may use one store at a time. `tests/contract/test_entry_store.py` tests every implementation.
    """

    async def start(self) -> None:
        """Connects, and applies the automatic migrations. Raises SchemaOutdated with the command that corrects it."""

    async def upsert_batch(self, entries: Sequence[Entry]) -> None:
        """Store each entry that replaces the stored record by the rule of `outdoes`; a tombstone deletes.

        A finished record is immutable: only a tombstone replaces it. When this returns, every entry is durable or was
        outdone. Once begun, a write is finished or rolled back, even when the caller is cancelled. A response once
        deleted does not come back. At most one entry a response. Raises StoreRefused when an entry can't be stored for
        itself; others may be stored by then, and storing them again changes nothing.
        """


class ResponseStore(EntryStore, Protocol):
    """A store that is read, too: by the api and by commands."""

    async def upsert_batch(self, entries: Sequence[Entry], *, force: bool = False) -> None:
        """As `EntryStore`. With `force` an entry replaces what is there, whatever that is, except a deletion: for repairs."""

    async def get(self, response_id: str) -> StoredResponse | None: ...

    async def summary(self, response_id: str) -> Summary | None: ...

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

    async def hydrate(
        self, channel: str, *, limit: int, before: str | None = None, max_bytes: int = PAGE_BYTES
    ) -> Page:
        """A page of the hydration set: all open responses, then the newest `limit` finished ones.

        Pages give the open ones first. A page ends at `max_bytes` (it has at least one item) or at `OPEN_PAGE` open
        responses, and is sorted newest first; one page holds everything when it fits. `next` is a cursor of the open
        stage while open responses are left, or while the page had no room for the first finished one; otherwise the
        place in the finished listing, for `list_channel` and for more finished ones from `hydrate`. Open responses
        are read before finished ones on every page, so a response that ends in between is in the page. Raises
        CursorInvalid.
        """

    async def delete(self, response_id: str, *, even_open: bool = False) -> Deletion:
        """Removes a finished response permanently, as `upsert_batch` does for a tombstone; with `even_open` an open
        one too.

        Once begun, the deletion is finished or rolled back, even when the caller is cancelled.
        """

    def held(self, response_ids: Sequence[str]) -> AsyncIterator[Held]:
        """Which of these the store has, or knows as deleted."""

    def iterate(self, *, since: int | None = None) -> AsyncIterator[StoredResponse]:
        """Finished responses in no order, optionally only those that ended at or after `since` (ms)."""

    async def prune(
        self, *, older_than: int, channel: ChannelFilter, dry_run: bool, progress: Progress | None = None
    ) -> PruneReport:
        """Delete finished responses that last changed before `older_than` (ms), in small transactions; forget old deletions."""

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
        if not 0 <= at <= MAX_TIME_MS:
            raise StoreRefused(f"{name} is {at}; a store takes milliseconds from 0 to {MAX_TIME_MS}")


def last_changed(record: ResponseRecord) -> int:
    """Returns the time from which the age of a record counts, in milliseconds since the epoch."""
    return record.finished_at if record.finished_at is not None else record.updated_at


def outdoes(
    new: Position, new_record: ResponseRecord, old: Position, *, old_finished: bool, old_updated_at: int
) -> bool:
    """Returns True if a record replaces the stored one: the guard of `upsert_batch`, shared by stores without SQL.

    No record replaces a finished one. A finished record replaces any open one. Of two open ones the later wins, by
    offset within a partition and by `updatedAt` across partitions.
    """
    if old_finished or new_record.finished:
        return not old_finished
    if new.partition == old.partition:
        return new.offset > old.offset
    return new_record.updated_at > old_updated_at


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place after one response: in a channel's listing, or (`open`) among the open responses of its hydration."""

    started_at: int
    response_id: str
    open: bool = False

    def encode(self) -> str:
        place = [self.started_at, self.response_id, *([1] if self.open else [])]
        text = json.dumps(place, ensure_ascii=False, separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> "Cursor":
        """Raises CursorInvalid."""
        try:
            place = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
        except (binascii.Error, ValueError, TypeError, RecursionError) as error:
            raise CursorInvalid from error
        match place:
            case [int(started_at), str(response_id), *stage] if stage in ([], [1]) and type(started_at) is int:
                if 0 <= started_at <= MAX_TIME_MS and "\0" not in response_id:
                    return cls(started_at, response_id, open=bool(stage))
        raise CursorInvalid

    @classmethod
    def of(cls, item: StoredResponse, *, open: bool = False) -> "Cursor":  # noqa: A002 - the name of the field
        return cls(item.record.started_at, item.response_id, open)


def merge_hydration(running: Iterable[StoredResponse], finished: Page) -> Page:
    """One list, newest first. A response that ended while it was read is in both and counts once, as finished."""
    ended = {item.response_id for item in finished.items}
    items = [*finished.items, *(item for item in running if item.response_id not in ended)]
    items.sort(key=lambda item: (item.record.started_at, item.response_id.encode()), reverse=True)
    return Page(tuple(items), finished.next)


def page_of(sizes: Sequence[int], limit: int, max_bytes: int, *, least: int = 1) -> int:
    """How many of these, in order, a page takes: at most `limit`, at least `least`, and no more once `max_bytes` is passed."""
    total = 0
    for count, size in enumerate(sizes[:limit]):
        total += size
        if count >= least and total > max_bytes:
            return count
    return min(len(sizes), limit)


class Tombstones(Protocol):
    """Writes to the log that a response is deleted. `tests/contract/test_tombstones.py` tests every implementation."""

    async def connect(self) -> None:
        """Makes ready to write at once. Raises KafkaUnavailable."""

    async def write(self, response_id: str, partition: int) -> None:
        """Returns once the tombstone is acknowledged. `partition` is the one of the response's records.

        Where the topic has no such partition any more, the key decides: no record of the response is on the log then.
        Raises KafkaUnavailable if nothing was sent, and TombstoneUndetermined if the acknowledgement did not come: the
        tombstone may be written even so. It may be called again after either.
        """
