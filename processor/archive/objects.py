"""Responses as objects: one JSON object each, under its channel and day. For archives that are kept long and read seldom.

The truth about a response is its pointer, swapped in one step: which version stands, or that it is deleted. A version is written before
the pointer names it, and removed after: a crash in between leaves an object that listings see through.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from typing import TypeVar, cast

import msgspec

from processor.archive.bucket import Bucket, Conflict, Stored
from processor.archive.object_names import (
    Named,
    channel_prefix,
    day_of,
    deleted_key,
    escape,
    open_prefix,
    pointer_key,
    read_name,
    record_key,
)
from processor.clock import Clock
from processor.errors import StoreUnavailable
from processor.store_port import (
    MARKER_DAYS,
    PAGE_BYTES,
    ChannelFilter,
    Cursor,
    Deletion,
    Entry,
    Held,
    Page,
    Position,
    Progress,
    PruneReport,
    StoredResponse,
    check_storable,
    last_changed,
    merge_hydration,
    outdoes,
    page_of,
)
from topics.codec import decode_response
from topics.records import Status

T = TypeVar("T")

DAY_MS = 86_400_000
SWAPS = 20
CHUNK = 200
FINISHED = frozenset(status for status in Status if status.finished)


class Pointer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the record of a response is. `deleted_at` (ms): it must not come back; `key` is then what may be left to remove."""

    response_id: str
    channel: str = ""
    key: str = ""
    partition: int = 0
    offset: int = 0
    finished: bool = False
    updated_at: int = 0
    changed_at: int = 0
    size: int = 0
    sha256: str = ""
    deleted_at: int | None = None

    @property
    def position(self) -> Position:
        return Position(self.partition, self.offset)


_decode = msgspec.json.Decoder(Pointer).decode
_encode = msgspec.json.Encoder().encode


class ObjectStore:
    def __init__(self, url: str, *, clock: Clock) -> None:
        self.bucket = Bucket(url)
        self._clock = clock

    def __repr__(self) -> str:
        return f"ObjectStore({self.bucket!r})"

    async def start(self) -> None:
        await self.ping()

    async def ping(self) -> None:
        await self.bucket.get("ids/none")

    async def close(self) -> None:
        """Holds nothing open."""

    # Writing

    async def upsert_batch(self, entries: Sequence[Entry], *, force: bool = False) -> None:
        for entry in entries:
            if entry.record is not None:
                check_storable(entry.record)
        await _together(self._upsert(entry, force=force) for entry in entries)

    async def _upsert(self, entry: Entry, *, force: bool) -> None:
        if entry.value is None:
            await self._delete(entry.response_id, only_finished=False)
            return
        for _ in range(SWAPS):
            old, stored = await self._pointer(entry.response_id)
            if old is not None and (old.deleted_at is not None or (not force and _outdone(entry, old))):
                return
            new = _pointer(entry)
            await self.bucket.put(new.key, entry.value)
            try:
                await self.bucket.replace(pointer_key(escape(entry.response_id)), _encode(new), stored)
            except Conflict:
                continue
            if old is not None and old.key != new.key:
                await self.bucket.delete(old.key)
            return
        raise StoreUnavailable("object storage: others kept writing the same response")

    async def delete(self, response_id: str) -> Deletion:
        if not _encodable(response_id):
            return Deletion.MISSING
        return await self._delete(response_id, only_finished=True)

    async def _delete(self, response_id: str, *, only_finished: bool) -> Deletion:
        for _ in range(SWAPS):
            old, stored = await self._pointer(response_id)
            if old is not None and old.deleted_at is not None:
                await self._remove(old)
                return Deletion.MISSING
            if only_finished and (old is None or not old.finished):
                return Deletion.MISSING if old is None else Deletion.OPEN
            gone = Pointer(response_id=response_id, key=old.key if old else "", deleted_at=self._clock.wall_ms())
            try:
                await self.bucket.replace(pointer_key(escape(response_id)), _encode(gone), stored)
            except Conflict:
                continue
            await self._remove(gone)
            return Deletion.DELETED
        raise StoreUnavailable("object storage: others kept writing the same response")

    async def _remove(self, gone: Pointer) -> None:
        """May be done again: a crash in between is mended by the next."""
        assert gone.deleted_at is not None
        await self.bucket.put(deleted_key(gone.response_id, gone.deleted_at), b"")
        if gone.key:
            await self.bucket.delete(gone.key)
            if (named := read_name(gone.key, 0)) is not None:
                # What was compacted holds the text as well; the next `archive compact` makes it anew.
                async for compacted in self.bucket.walk(f"parquet/date={day_of(named.started_at)}/"):
                    await self.bucket.delete(compacted.key)

    async def _pointer(self, response_id: str) -> tuple[Pointer | None, Stored | None]:
        stored = await self.bucket.get(pointer_key(escape(response_id)))
        return (None if stored is None else _decode(stored.body)), stored

    # Reading

    async def get(self, response_id: str) -> StoredResponse | None:
        if not _encodable(response_id):
            return None
        for _ in range(SWAPS):
            pointer, _stored = await self._pointer(response_id)
            if pointer is None or pointer.deleted_at is not None:
                return None
            found = await self.bucket.get(pointer.key)
            if found is not None:
                return StoredResponse(pointer.position, response_id, found.body)
        raise StoreUnavailable("object storage: the record that a pointer names is not there")

    async def list_channel(
        self,
        channel: str,
        *,
        limit: int,
        before: str | None = None,
        status: frozenset[Status] | None = None,
        max_bytes: int = PAGE_BYTES,
    ) -> Page:
        cursor = None if before is None else Cursor.decode(before)
        if not _encodable(channel):
            return Page((), None)
        wanted = frozenset(Status) if status is None else status
        after = None if cursor is None else (cursor.started_at, escape(cursor.response_id))
        heads = await self._heads(channel, wanted, after, limit + 1)
        count = page_of([head.size for head in heads], limit, max_bytes)
        found = await self.read(heads[:count])
        if len(heads) <= count or not count:
            return Page(tuple(item for item in found if item is not None), None)
        last = await self._id_of(heads[count - 1], found[-1])
        return Page(
            tuple(item for item in found if item is not None), Cursor(heads[count - 1].started_at, last).encode()
        )

    async def _id_of(self, head: Named, found: StoredResponse | None) -> str:
        """Of one that was deleted meanwhile, its pointer tells."""
        if found is not None:
            return found.response_id
        stored = await self.bucket.get(pointer_key(head.escaped_id))
        return head.escaped_id if stored is None else _decode(stored.body).response_id

    async def hydrate(self, channel: str, *, limit: int, max_bytes: int = PAGE_BYTES) -> Page:
        if not _encodable(channel):
            return Page((), None)
        running = await self.read(await self._open_ones(channel))
        finished = Page((), None)
        if limit:
            finished = await self.list_channel(channel, limit=limit, status=FINISHED, max_bytes=max_bytes)
        # One that ended while this was read is in both lists, or has been read as finished: it is told once.
        return merge_hydration([item for item in running if item is not None], finished)

    async def _heads(
        self, channel: str, wanted: frozenset[Status], after: tuple[int, str] | None, count: int
    ) -> list[Named]:
        """The newest `count` names after the cursor. Days are listed from the newest on, and no further than needed."""
        heads = await self._open_ones(channel) if Status.STREAMING in wanted else []
        heads = [head for head in heads if after is None or head.order < after]
        days = sorted(await self.bucket.folders(channel_prefix(channel)), reverse=True) if wanted & FINISHED else []
        for folder in days:
            day = folder.removeprefix("date=")
            if after is not None and day > day_of(after[0]):
                continue
            names = await self.names(f"{channel_prefix(channel)}{folder}/")
            heads += [one for one in names if one.status in wanted and (after is None or one.order < after)]
            if sum(day_of(head.started_at) >= day for head in heads) >= count:
                break
        return sorted(heads, key=lambda head: head.order, reverse=True)[:count]

    async def names(self, prefix: str) -> list[Named]:
        """One for each response: an older version may be left from a crash."""
        newest: dict[str, Named] = {}
        async for listed in self.bucket.walk(prefix):
            named = read_name(listed.key, listed.size)
            if named is not None:
                before = newest.get(named.escaped_id)
                newest[named.escaped_id] = named if before is None else max(before, named, key=lambda one: one.age)
        return list(newest.values())

    async def _open_ones(self, channel: str) -> list[Named]:
        """Those whose pointer still says so."""
        names = await self.names(open_prefix(channel))
        pointers = await _together(self.bucket.get(pointer_key(name.escaped_id)) for name in names)
        by_id = {escape(pointer.response_id): pointer for pointer in (_decode(one.body) for one in pointers if one)}
        found: list[Named] = []
        for name in names:
            pointer = by_id.get(name.escaped_id)
            if pointer is not None and not pointer.finished and pointer.deleted_at is None:
                current = read_name(pointer.key, pointer.size)
                found += [current] if current is not None else []
        return found

    async def read(self, names: Sequence[Named]) -> list[StoredResponse | None]:
        """None for what was deleted meanwhile."""
        bodies = await _together(self.bucket.get(name.key) for name in names)
        return [None if body is None else _response(name, body.body) for name, body in zip(names, bodies, strict=True)]

    async def held(self, response_ids: Sequence[str]) -> AsyncIterator[Held]:
        ids = [one for one in response_ids if _encodable(one)]
        for chunk in _chunks(ids):
            for pointer, _stored in await _together(self._pointer(one) for one in chunk):
                if pointer is not None:
                    deleted = pointer.deleted_at is not None
                    yield Held(pointer.response_id, pointer.finished or deleted, deleted, pointer.sha256)

    async def iterate(self, *, since: int | None = None) -> AsyncIterator[StoredResponse]:
        # A response that ended after `since` began at most a day before.
        first = None if since is None else day_of(max(0, since - DAY_MS))
        for prefix in await self.day_prefixes(first):
            for names in _chunks(await self.names(prefix)):
                for item in await self.read(names):
                    if item is not None and (since is None or last_changed(item.record) >= since):
                        yield item

    async def day_prefixes(self, first: str | None = None) -> list[str]:
        """Of finished responses: every channel's every day, optionally from `first` (YYYY-MM-DD) on."""
        channels = [folder for folder in await self.bucket.folders("") if folder.startswith("channel=")]
        days = await _together(self.bucket.folders(f"{channel}/") for channel in channels)
        return [
            f"{channel}/{day}/"
            for channel, folders in zip(channels, days, strict=True)
            for day in folders
            if first is None or day.removeprefix("date=") >= first
        ]

    # Retention

    async def prune(
        self, *, older_than: int, channel: ChannelFilter, dry_run: bool, progress: Progress | None = None
    ) -> PruneReport:
        doomed = await self._doomed(older_than, channel)
        if not dry_run:
            for some in _chunks(doomed):
                await _together(self._delete(pointer.response_id, only_finished=False) for pointer in some)
                if progress:
                    progress(len(some), len(doomed))
            await self._forget_deletions()
        return PruneReport(len(doomed), sum(pointer.size for pointer in doomed))

    async def _doomed(self, older_than: int, channel: ChannelFilter) -> list[Pointer]:
        """What began later can't have ended earlier: names tell, and only the rest is looked at."""
        prefixes = [one for one in await self.day_prefixes() if _day_in(one) <= day_of(older_than)]
        old: list[Pointer] = []
        for prefix in (*prefixes, "open/"):
            names = [one for one in await self.names(prefix) if one.started_at < older_than]
            for some in _chunks(names):
                items = [item for item in await self.read(some) if item is not None]
                pointers = await _together(self._pointer(item.response_id) for item in items)
                old += [one for one, _stored in pointers if one is not None and one.deleted_at is None]
        return [one for one in old if one.changed_at < older_than and channel(one.channel)]

    async def _forget_deletions(self) -> None:
        horizon = self._clock.wall_ms() - MARKER_DAYS * DAY_MS
        for folder in await self.bucket.folders("deleted/"):
            if folder.removeprefix("date=") >= day_of(horizon):
                continue
            markers = [listed.key async for listed in self.bucket.walk(f"deleted/{folder}/")]
            for some in _chunks(markers):
                await _together(self._forget(marker, horizon) for marker in some)

    async def _forget(self, marker: str, horizon: int) -> None:
        key = pointer_key(marker.rpartition("/")[2])
        stored = await self.bucket.get(key)
        pointer = None if stored is None else _decode(stored.body)
        if pointer is not None and pointer.deleted_at is not None and pointer.deleted_at < horizon:
            await self.bucket.delete(key)
        await self.bucket.delete(marker)


async def _together(work: Iterable[Awaitable[T]]) -> list[T]:
    """In parallel, as far as the bucket goes; the results in order. The first failure is raised when all have ended."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast("list[T]", results)


def _pointer(entry: Entry) -> Pointer:
    record, value = entry.record, entry.value
    assert record is not None
    assert value is not None
    return Pointer(
        response_id=entry.response_id,
        channel=record.channel,
        key=record_key(record, entry.position),
        partition=entry.position.partition,
        offset=entry.position.offset,
        finished=record.finished,
        updated_at=record.updated_at,
        changed_at=last_changed(record),
        size=len(value),
        sha256=hashlib.sha256(value).hexdigest(),
    )


def _outdone(entry: Entry, old: Pointer) -> bool:
    assert entry.record is not None
    return not outdoes(
        entry.position, entry.record, old.position, old_finished=old.finished, old_updated_at=old.updated_at
    )


def _response(name: Named, body: bytes) -> StoredResponse:
    return StoredResponse(name.position, decode_response(body).response_id, body)


def _day_in(prefix: str) -> str:
    return prefix.rstrip("/").rpartition("date=")[2]


def _encodable(name: str) -> bool:
    return "\0" not in name and not any("\ud800" <= character <= "\udfff" for character in name)


def _chunks(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
