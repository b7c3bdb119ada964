"""Lists and reads object storage: the existing records, by names and pointers, and their bodies."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import TypeVar, cast

from processor.archive.bucket import Bucket, Listed
from processor.archive.object_names import Named, channel_prefix, day_of, escape, open_prefix, pointer_key, read_name
from processor.archive.object_pointers import Pointer, decode_pointer
from processor.errors import StoreUnavailable
from processor.ports.store import Cursor, Page, StoredResponse, page_of
from topics.codec import decode_response
from topics.records import Status

T = TypeVar("T")

CHUNK = 200
ATTEMPTS = 20
OPEN = frozenset({Status.STREAMING})
FINISHED = frozenset(status for status in Status if status.finished)

Place = tuple[int, str]
"""After which a page begins: `startedAt` and the escaped id."""


class ObjectListing:
    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def get(self, escaped_id: str) -> StoredResponse | None:
        for _ in range(ATTEMPTS):
            stored = await self._bucket.get(pointer_key(escaped_id))
            pointer = None if stored is None else decode_pointer(stored.body)
            if pointer is None or pointer.deleted_at is not None:
                return None
            found = await self._bucket.get(pointer.key)
            if found is not None:
                return StoredResponse(pointer.position, pointer.response_id, found.body)
        raise StoreUnavailable("object storage: the record that a pointer names is not there")

    async def page(
        self, heads: Sequence[Named], limit: int, max_bytes: int, *, least: int = 1, stage_open: bool = False
    ) -> Page:
        """Of one more head than `limit`, where there is one. With `least=0` it may be empty, with a `next`."""
        count = page_of([head.size for head in heads], limit, max_bytes, least=least)
        items = tuple(item for item in await self.read(heads[:count]) if item is not None)
        if len(heads) <= count or not limit:
            return Page(items, None)
        last = heads[max(0, count - 1)]
        return Page(items, Cursor(last.started_at, await self._id_of(last, items), stage_open).encode())

    async def _id_of(self, head: Named, items: Sequence[StoredResponse]) -> str:
        """Returns the response id behind a name. If the record was deleted meanwhile, its pointer has the id."""
        if items and escape(items[-1].response_id) == head.escaped_id:
            return items[-1].response_id
        stored = await self._bucket.get(pointer_key(head.escaped_id))
        return head.escaped_id if stored is None else decode_pointer(stored.body).response_id

    async def heads(self, channel: str, wanted: frozenset[Status], after: Place | None, count: int) -> list[Named]:
        """The newest `count` names after the cursor. Days are listed from the newest on, and no further than needed."""
        heads = await self.open_ones(channel, after, count) if Status.STREAMING in wanted else []
        days = sorted(await self._bucket.folders(channel_prefix(channel)), reverse=True) if wanted & FINISHED else []
        for folder in days:
            day = folder.removeprefix("date=")
            if after is not None and day > day_of(after[0]):
                continue
            missing = count - sum(day_of(head.started_at) >= day for head in heads)
            if missing <= 0:
                break
            heads += await self._newest(f"{channel_prefix(channel)}{folder}/", wanted, after, missing)
        return sorted(heads, key=_order, reverse=True)[:count]

    async def open_ones(self, channel: str, after: Place | None, count: int) -> list[Named]:
        return await self._newest(open_prefix(channel), OPEN, after, count)

    async def _newest(self, prefix: str, wanted: frozenset[Status], after: Place | None, count: int) -> list[Named]:
        """The newest `count` after the cursor that pointers name: a crash may have left other versions."""
        left = [one for one in await self._names(prefix) if one.status in wanted and (not after or one.order < after)]
        left.sort(key=_order, reverse=True)
        found: dict[str, Named] = {}
        for some in chunks(left, min(CHUNK, max(1, count))):
            if len(found) >= count:
                break
            found |= {one.key: one for one in await self.named(some) if one.status in wanted}
        return list(found.values())[:count]

    async def _names(self, prefix: str) -> list[Named]:
        return read_names([listed async for listed in self._bucket.walk(prefix)])

    async def names(self, prefix: str) -> list[Named]:
        """One for each response: an older version may be left from a crash. Pointers are not asked."""
        newest: dict[str, Named] = {}
        for named in await self._names(prefix):
            before = newest.get(named.escaped_id)
            newest[named.escaped_id] = named if before is None else max(before, named, key=lambda one: one.age)
        return list(newest.values())

    async def named(self, names: Sequence[Named]) -> list[Named]:
        """What the pointers name of these: not what was deleted, has ended meanwhile, or no pointer ever named."""
        found: list[Named] = []
        for name, pointer in zip(names, await self.pointers(names), strict=True):
            if pointer is None or pointer.deleted_at is not None or pointer.finished is not name.status.finished:
                continue
            current = read_name(pointer.key, pointer.size)
            if current is not None and current.folder == name.folder:
                found.append(current)
        return found

    async def pointers(self, names: Sequence[Named]) -> list[Pointer | None]:
        stored = await together(self._bucket.get(pointer_key(name.escaped_id)) for name in names)
        return [None if one is None else decode_pointer(one.body) for one in stored]

    async def read(self, names: Sequence[Named]) -> list[StoredResponse | None]:
        """The record now stored, where the named one has been replaced meanwhile; None for what was deleted."""
        return await together(self._read(name) for name in names)

    async def _read(self, name: Named) -> StoredResponse | None:
        found = await self._bucket.get(name.key)
        if found is None:
            return await self.get(name.escaped_id)
        return StoredResponse(name.position, decode_response(found.body).response_id, found.body)

    async def day_prefixes(self, first: str | None = None) -> list[str]:
        """Of finished responses: every channel's every day, optionally from `first` (YYYY-MM-DD) on."""
        channels = [folder for folder in await self._bucket.folders("") if folder.startswith("channel=")]
        days = await together(self._bucket.folders(f"{channel}/") for channel in channels)
        return [
            f"{channel}/{day}/"
            for channel, folders in zip(channels, days, strict=True)
            for day in folders
            if first is None or day.removeprefix("date=") >= first
        ]


def read_names(found: Iterable[Listed]) -> list[Named]:
    named = (read_name(listed.key, listed.size) for listed in found)
    return [one for one in named if one is not None]


def _order(name: Named) -> Place:
    return name.order


async def together(work: Iterable[Awaitable[T]]) -> list[T]:
    """In parallel, as far as the bucket goes; the results in order. The first failure is raised when all have ended."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast("list[T]", results)


def chunks(items: Sequence[T], size: int = CHUNK) -> Iterable[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
