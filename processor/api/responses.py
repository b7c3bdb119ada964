"""Answers requests about responses. Takes decoded arguments; the app does the routing and the headers."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from processor.api.access import DELETE, READ, Grant
from processor.api.errors import bad_request, forbidden, not_found, unavailable
from processor.api.render import Pieces, render, render_page
from processor.api.sending import Answer
from processor.clock import Clock
from processor.errors import KafkaUnavailable, TombstoneUndetermined
from processor.ports.deletion import delete_everywhere
from processor.ports.store import (
    PAGE_BYTES,
    STALE_MS,
    Cursor,
    CursorInvalid,
    Deletion,
    Page,
    ResponseStore,
    StoredResponse,
    Summary,
    Tombstones,
)
from processor.telemetry.answers import ApiError
from topics.records import Status

MAX_LIMIT = 500
STORED_BYTES = 3 * 1024 * 1024
"""Read for one page. Rendered, it is at most `PAGE_BYTES`: a record has its answer twice then, or 76 bytes more for
each part, which has at least 45.
"""
HELD_TIMES = 3
"""The memory of a response's answer, as a multiple of its record: the record, its rendering, and the largest step of it."""
PAGE_MEMORY = 12 * 1024 * 1024
"""Held while a page is read, before its size is known: a stored record of 4 MiB and its rendering."""
IN_THREAD_FROM = 64 * 1024
"""A record of this size is not decoded on the event loop."""

WITHOUT_TEXT = frozenset(
    {"v", "responseId", "channel", "status", "reason", "seq", "startedAt", "updatedAt", "finishedAt"}
)
"""What a caller may see of a response that may cancel it and not read it."""

T = TypeVar("T")
log = structlog.stdlib.get_logger("tokenstream.api")


@dataclass(frozen=True, slots=True)
class Listing:
    """The query of a channel's listing, checked."""

    limit: int
    before: str | None = None
    status: frozenset[Status] | None = None
    fields: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Loading:
    """An answer that can be made: `load` holds at most `memory` bytes. Nothing large was read before."""

    memory: int
    load: Callable[[], Awaitable[Answer]]


class Responses:
    """Each method first decides whether the caller may; what it returns reads the records."""

    def __init__(self, store: ResponseStore, tombstones: Tombstones | None, *, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock or Clock()
        self._tombstones = tombstones
        self._deletions: set[asyncio.Task[None]] = set()

    async def finish(self) -> None:
        """Waits for deletions whose callers have gone away."""
        await asyncio.gather(*self._deletions, return_exceptions=True)

    async def get(self, grant: Grant, response_id: str) -> Loading:
        found = await self._found(grant, READ, response_id)
        return Loading(HELD_TIMES * found.size, lambda: self._load(found))

    def ended(self, found: Summary, *, whole: bool) -> Loading:
        """A response that has ended, of which the caller is known to know; without its text if not `whole`."""

        async def load() -> Answer:
            if whole:
                return await self._load(found)
            stored = await self._store.get(found.response_id)
            if stored is None:
                raise not_found()
            return Answer(_one(stored.value, WITHOUT_TEXT), 2 * found.size, HELD_TIMES * found.size)

        return Loading(HELD_TIMES * found.size, load)

    async def _load(self, found: Summary) -> Answer:
        stored = await self._store.get(found.response_id)
        if stored is None:
            raise not_found()
        # A finished record is not replaced: the one read is that of the summary, or one that ended since.
        etag = await _off_loop(stored, lambda: stored.sha256[:32]) if found.finished else None
        size = len(stored.value)
        return Answer(_one(stored.value), 2 * size, HELD_TIMES * size, etag)

    def list(self, grant: Grant, channel: str, listing: Listing) -> Loading:
        _require(grant, READ, channel)
        small = listing.fields is not None and not listing.fields & {"parts", "text"}

        async def load() -> Answer:
            page = self._store.list_channel(
                channel,
                limit=listing.limit,
                before=listing.before,
                status=listing.status,
                max_bytes=PAGE_BYTES if small else STORED_BYTES,
            )
            return _page(await _read(page), listing.fields)

        return Loading(PAGE_MEMORY, load)

    def hydrate(self, grant: Grant, channel: str, limit: int, before: str | None) -> Loading:
        _require(grant, READ, channel)

        async def load() -> Answer:
            page = self._store.hydrate(channel, limit=limit, before=before, max_bytes=STORED_BYTES)
            return _page(await _read(page))

        return Loading(PAGE_MEMORY, load)

    async def delete(self, grant: Grant, response_id: str) -> None:
        """The log first: what fails after it, the archive does. The other way round a failure would leave the log's
        copy.

        Once the tombstone is on its way a caller that goes away changes nothing: the deletion runs to its end.
        """
        found = await self._found(grant, DELETE, response_id)
        if self._tombstones is None:
            raise unavailable("This server was started without Kafka, where a deletion is written first.")
        deletion = asyncio.create_task(self._delete(self._tombstones, found, grant.credential))
        self._deletions.add(deletion)
        deletion.add_done_callback(self._deleted)
        await asyncio.shield(deletion)

    def _deleted(self, deletion: asyncio.Task[None]) -> None:
        self._deletions.discard(deletion)
        if not deletion.cancelled():
            deletion.exception()  # the caller has it, or is gone

    async def _delete(self, tombstones: Tombstones, found: Summary, credential: str) -> None:
        stale_before = self._clock.wall_ms() - STALE_MS
        try:
            deletion = await delete_everywhere(self._store, tombstones, found, open_before=stale_before)
        except TombstoneUndetermined as error:
            raise unavailable(
                f"It is not known whether the response is deleted: {error}. Send the request again."
            ) from error
        except KafkaUnavailable as error:
            raise unavailable(f"Nothing was deleted: {error}") from error
        if deletion is Deletion.OPEN:
            raise _still_open()
        log.info("response_deleted", responseId=found.response_id, credential=credential)

    async def _found(self, grant: Grant, operation: str, response_id: str) -> Summary:
        """A response of a channel that the caller may not read does not exist for the caller."""
        found = await self._store.summary(response_id)
        if found is None:
            raise not_found()
        if grant.allows(operation, found.channel):
            return found
        if grant.allows(READ, found.channel):
            raise _forbidden(operation)
        raise not_found()


async def _off_loop(stored: StoredResponse, work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work) if len(stored.value) >= IN_THREAD_FROM else work()


def _one(value: bytes, fields: frozenset[str] | None = None) -> Pieces:
    yield render(value, fields)


async def _read(page: Awaitable[Page]) -> Page:
    try:
        return await page
    except CursorInvalid as error:
        raise bad_request(str(error)) from None


def _page(page: Page, fields: frozenset[str] | None = None) -> Answer:
    sizes = [len(item.value) for item in page.items]
    memory = sum(sizes) + 2 * max(sizes, default=0)
    more_open = page.next is not None and Cursor.decode(page.next).open
    return Answer(render_page(page.items, page.next, fields, more_open=more_open), 2 * sum(sizes), memory)


def _require(grant: Grant, operation: str, channel: str) -> None:
    if not grant.allows(operation, channel):
        raise _forbidden(operation)


def _forbidden(operation: str) -> ApiError:
    return forbidden(f"The credential does not grant `{operation}` on this channel.")


def _still_open() -> ApiError:
    return ApiError(
        409,
        "response_open",
        "The response has not finished. Cancel it, and delete it then. One whose record has not changed for a day can be deleted.",
    )
