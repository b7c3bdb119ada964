"""Stores responses as objects: one JSON object each, under its channel and day. For archives that are kept long and
read rarely.

The pointer of a response, which is swapped in one step, decides which version is stored, or that the response is
deleted.
A version is written before the pointer names it, and removed afterwards: a crash in between leaves an object that
listings ignore.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from processor.archive.bucket import Bucket, Conflict, Stored
from processor.archive.finishing import Finishing
from processor.archive.object_listing import FINISHED, ObjectListing, Place, chunks, read_names, together
from processor.archive.object_names import (
    Named,
    channel_prefix,
    day_of,
    deleted_key,
    escape,
    open_prefix,
    pointer_key,
    read_name,
)
from processor.archive.object_pointers import (
    Pointer,
    decode_pointer,
    encode_pointer,
    is_outdone,
    pointer_to,
)
from processor.clock import Clock
from processor.errors import StoreUnavailable
from processor.ports.store import (
    MARKER_DAYS,
    OPEN_PAGE,
    PAGE_BYTES,
    ChannelFilter,
    Cursor,
    Deletion,
    Entry,
    Held,
    Page,
    Progress,
    PruneReport,
    StoredResponse,
    Summary,
    check_storable,
    last_changed,
    merge_hydration,
)
from topics.records import Status

T = TypeVar("T")

DAY_MS = 86_400_000
SWAPS = 20
WRITE_SECONDS = 120.0
ORPHAN_MS = 3_600_000
"""Longer than a write can take from its object to its pointer."""


@dataclass(frozen=True, slots=True)
class Old:
    """What `prune` found: pointers to delete; the keys of every id that was seen; keys that no pointer names."""

    pointers: Sequence[Pointer]
    keys: Mapping[str, Sequence[str]]
    orphans: Sequence[str]


class ObjectStore:
    def __init__(self, url: str, *, clock: Clock, bucket: Bucket | None = None) -> None:
        self.bucket = bucket or Bucket(url)
        self.listing = ObjectListing(self.bucket)
        self._clock = clock
        self._finishing = Finishing()

    def __repr__(self) -> str:
        return f"ObjectStore({self.bucket!r})"

    async def start(self) -> None:
        """Raises SettingsError when the service does not keep to conditional writes."""
        await self.ping()
        await self.bucket.start()

    async def ping(self) -> None:
        await self.bucket.get("ids/none")

    async def close(self) -> None:
        await self._finishing.settle()

    # Writing

    async def upsert_batch(self, entries: Sequence[Entry], *, force: bool = False) -> None:
        for entry in entries:
            if entry.record is not None:
                check_storable(entry.record)
        await self._write(together(self._upsert(entry, force=force) for entry in entries))

    async def _write(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs to its end whatever the caller does, but no longer than storage may take."""

        async def bounded() -> T:
            try:
                async with asyncio.timeout(WRITE_SECONDS):
                    return await work
            except TimeoutError:
                raise StoreUnavailable(f"object storage: the write took over {WRITE_SECONDS:g} s") from None

        return await self._finishing.run(bounded())

    async def _upsert(self, entry: Entry, *, force: bool) -> None:
        if entry.value is None:
            await self._delete(entry.response_id, only_finished=False)
            return
        new = pointer_to(entry, self._clock.wall_ms())
        for _ in range(SWAPS):
            old, stored = await self._pointer(entry.response_id)
            if old is not None and (old.deleted_at is not None or (not force and is_outdone(entry, old))):
                await self._remove_loser(new)
                return
            await self.bucket.put(new.key, entry.value)
            try:
                await self.bucket.replace(pointer_key(escape(entry.response_id)), encode_pointer(new), stored)
            except Conflict:
                continue
            if old is not None and old.key != new.key:
                await self.bucket.delete(old.key)
            return
        raise StoreUnavailable("object storage: others kept writing the same response")

    async def _remove_loser(self, new: Pointer) -> None:
        """Removes what a write that failed before, or lost to another, has left. A repair may have made it current meanwhile."""
        current, _ = await self._pointer(new.response_id)
        if current is None or current.deleted_at is not None or current.key != new.key:
            await self.bucket.delete(new.key)

    async def delete(self, response_id: str, *, even_open: bool = False) -> Deletion:
        if not _encodable(response_id):
            return Deletion.MISSING
        return await self._write(self._delete(response_id, only_finished=not even_open, only_stored=True))

    async def _delete(
        self,
        response_id: str,
        *,
        only_finished: bool,
        only_stored: bool = False,
        leftovers: Sequence[str] | None = None,
    ) -> Deletion:
        """`leftovers`: all keys with the response's text, where they are known; else they are listed."""
        for _ in range(SWAPS):
            old, stored = await self._pointer(response_id)
            if old is not None and old.deleted_at is not None:
                await self._remove(old, leftovers)
                return Deletion.MISSING
            if old is None and (only_finished or only_stored):
                return Deletion.MISSING
            if old is not None and only_finished and not old.finished:
                return Deletion.OPEN
            gone = Pointer(
                response_id=response_id,
                channel=old.channel if old else "",
                key=old.key if old else "",
                deleted_at=self._clock.wall_ms(),
            )
            try:
                await self.bucket.replace(pointer_key(escape(response_id)), encode_pointer(gone), stored)
            except Conflict:
                continue
            await self._remove(gone, leftovers)
            return Deletion.DELETED
        raise StoreUnavailable("object storage: others kept writing the same response")

    async def _remove(self, gone: Pointer, leftovers: Sequence[str] | None = None) -> None:
        """Every object of the response. May be repeated: a crash in between is repaired by the next."""
        assert gone.deleted_at is not None
        await self.bucket.put(deleted_key(gone.response_id, gone.deleted_at), b"")
        named = read_name(gone.key, 0) if gone.key else None
        if named is None:
            return
        keys = {gone.key, *(leftovers if leftovers is not None else await self._versions(gone, named))}
        await together(self.bucket.delete(key) for key in keys)
        # What was compacted holds the text as well; the next `archive compact` writes it again.
        days = {day_of(one.started_at) for key in keys if (one := read_name(key, 0)) is not None}
        for day in sorted(days):
            async for compacted in self.bucket.walk(f"parquet/date={day}/"):
                await self.bucket.delete(compacted.key)

    async def _versions(self, gone: Pointer, named: Named) -> list[str]:
        """Keys of the response where its versions are: a crash may have left some that no pointer names."""
        prefixes = [f"{named.folder}/"]
        if gone.channel:
            prefixes = [open_prefix(gone.channel), f"{channel_prefix(gone.channel)}date={day_of(named.started_at)}/"]
        keys: list[str] = []
        for prefix in prefixes:
            found = read_names([listed async for listed in self.bucket.walk(prefix)])
            keys += [one.key for one in found if one.escaped_id == named.escaped_id]
        return keys

    async def _pointer(self, response_id: str) -> tuple[Pointer | None, Stored | None]:
        stored = await self.bucket.get(pointer_key(escape(response_id)))
        return (None if stored is None else decode_pointer(stored.body)), stored

    # Reading

    async def get(self, response_id: str) -> StoredResponse | None:
        return await self.listing.get(escape(response_id)) if _encodable(response_id) else None

    async def summary(self, response_id: str) -> Summary | None:
        if not _encodable(response_id):
            return None
        pointer, stored = await self._pointer(response_id)
        if pointer is None or stored is None or pointer.deleted_at is not None:
            return None
        at = pointer.stored_at or stored.written_at
        return Summary(pointer.position, response_id, pointer.channel, pointer.finished, pointer.size, at)

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
        after = None if cursor is None or cursor.open else _place(cursor)
        return await self.listing.page(await self.listing.heads(channel, wanted, after, limit + 1), limit, max_bytes)

    async def hydrate(
        self, channel: str, *, limit: int, before: str | None = None, max_bytes: int = PAGE_BYTES
    ) -> Page:
        cursor = None if before is None else Cursor.decode(before)
        if not _encodable(channel):
            return Page((), None)
        if cursor is not None and not cursor.open:
            heads = await self.listing.heads(channel, FINISHED, _place(cursor), limit + 1)
            return await self.listing.page(heads, limit, max_bytes)
        # In this order, which the port promises: a response that ends in between is in one list or the other.
        opened = await self.listing.open_ones(channel, None if cursor is None else _place(cursor), OPEN_PAGE + 1)
        running = await self.listing.page(opened, OPEN_PAGE, max_bytes, stage_open=True)
        if running.next is not None or not limit:
            return running
        heads = await self.listing.heads(channel, FINISHED, None, limit + 1)
        room = max_bytes - sum(len(item.value) for item in running.items)
        finished = await self.listing.page(heads, limit, room, least=0 if running.items else 1)
        if running.items and not finished.items and finished.next is not None:
            return Page(running.items, Cursor.of(running.items[-1], open=True).encode())
        return merge_hydration(running.items, finished)

    async def held(self, response_ids: Sequence[str]) -> AsyncIterator[Held]:
        ids = [one for one in response_ids if _encodable(one)]
        for chunk in chunks(ids):
            for pointer, _stored in await together(self._pointer(one) for one in chunk):
                if pointer is not None and pointer.deleted_at is not None:
                    yield Held(pointer.response_id, finished=True, deleted=True, sha256="")
                elif pointer is not None:
                    yield Held(
                        pointer.response_id,
                        pointer.finished,
                        deleted=False,
                        sha256=pointer.sha256,
                        position=pointer.position,
                        changed_at=pointer.changed_at,
                    )

    async def iterate(self, *, since: int | None = None) -> AsyncIterator[StoredResponse]:
        # A response that ended after `since` began at most a day before.
        first = None if since is None else day_of(max(0, since - DAY_MS))
        for prefix in await self.listing.day_prefixes(first):
            for names in chunks(await self.listing.names(prefix)):
                for item in await self.listing.read(await self.listing.named(names)):
                    if item is not None and (since is None or last_changed(item.record) >= since):
                        yield item

    # Retention

    async def prune(
        self, *, older_than: int, channel: ChannelFilter, dry_run: bool, progress: Progress | None = None
    ) -> PruneReport:
        found = await self._find_old(older_than, channel)
        if not dry_run:
            await self._write(self._remove_orphans(found.orphans))
            for some in chunks(found.pointers):
                await self._write(together(self._prune_one(one, found.keys) for one in some))
                if progress:
                    progress(len(some), len(found.pointers))
            await self._forget_deletions()
        return PruneReport(len(found.pointers), sum(pointer.size for pointer in found.pointers))

    async def _prune_one(self, pointer: Pointer, keys: Mapping[str, Sequence[str]]) -> None:
        await self._delete(pointer.response_id, only_finished=True, leftovers=keys.get(escape(pointer.response_id), ()))

    async def _find_old(self, older_than: int, channel: ChannelFilter) -> Old:
        """Returns the expired records. A response that began later cannot have ended earlier, so names suffice for
        most, and only the rest is read.
        """
        prefixes = [one for one in await self.listing.day_prefixes() if _day_in(one) <= day_of(older_than)]
        doomed: dict[str, Pointer] = {}
        keys: dict[str, list[str]] = defaultdict(list)
        orphans: list[str] = []
        settled = self._clock.wall_ms() - ORPHAN_MS
        for prefix in (*prefixes, "open/"):
            listed = [one async for one in self.bucket.walk(prefix)]
            written = {one.key: one.written_at for one in listed}
            for some in chunks(read_names(listed)):
                for name, pointer in zip(some, await self.listing.pointers(some), strict=True):
                    keys[name.escaped_id].append(name.key)
                    if pointer is None or pointer.deleted_at is not None or pointer.key != name.key:
                        orphans += [name.key] if written[name.key] < settled else []
                    elif pointer.finished and pointer.changed_at < older_than and channel(pointer.channel):
                        doomed[name.escaped_id] = pointer
        return Old(list(doomed.values()), keys, orphans)

    async def _remove_orphans(self, keys: Sequence[str]) -> None:
        """Of writes that a crash cut off before their pointer, or whose deletion it cut off."""
        for some in chunks(keys):
            await together(self.bucket.delete(key) for key in some)

    async def _forget_deletions(self) -> None:
        horizon = self._clock.wall_ms() - MARKER_DAYS * DAY_MS
        for folder in await self.bucket.folders("deleted/"):
            if folder.removeprefix("date=") >= day_of(horizon):
                continue
            markers = [listed.key async for listed in self.bucket.walk(f"deleted/{folder}/")]
            for some in chunks(markers):
                await together(self._forget(marker, horizon) for marker in some)

    async def _forget(self, marker: str, horizon: int) -> None:
        key = pointer_key(marker.rpartition("/")[2])
        stored = await self.bucket.get(key)
        pointer = None if stored is None else decode_pointer(stored.body)
        if pointer is not None and pointer.deleted_at is not None and pointer.deleted_at < horizon:
            await self.bucket.delete(key)
        await self.bucket.delete(marker)


def _day_in(prefix: str) -> str:
    return prefix.rstrip("/").rpartition("date=")[2]


def _place(cursor: Cursor) -> Place:
    return (cursor.started_at, escape(cursor.response_id))


def _encodable(name: str) -> bool:
    return "\0" not in name and not any("\ud800" <= character <= "\udfff" for character in name)
