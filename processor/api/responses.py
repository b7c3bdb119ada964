"""What `/v1` answers about responses. Takes decoded arguments, gives answers; routing and headers are the app's."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from processor.api.access import DELETE, READ, Grant
from processor.api.errors import ApiError, bad_request, forbidden, not_found, unavailable
from processor.api.render import Head, Pieces, read_head, render, render_page
from processor.api.sending import Answer
from processor.clock import Clock
from processor.deleting import delete_everywhere
from processor.errors import KafkaUnavailable, TombstoneUndetermined
from processor.store_port import (
    PAGE_BYTES,
    STALE_MS,
    CursorInvalid,
    Deletion,
    Page,
    ResponseStore,
    StoredResponse,
    Tombstones,
)
from topics.records import Status

MAX_LIMIT = 500
STORED_BYTES = 3 * 1024 * 1024
"""Read for one page. Rendered, it is at most `PAGE_BYTES`: a record has its answer twice then, or 76 bytes more for each part,
which has at least 45."""
IN_THREAD_FROM = 64 * 1024
"""A record of this size is not decoded on the event loop."""

T = TypeVar("T")
log = structlog.stdlib.get_logger("tokenstream.api")


@dataclass(frozen=True, slots=True)
class Listing:
    """The query of a channel's listing, checked."""

    limit: int
    before: str | None = None
    status: frozenset[Status] | None = None
    fields: frozenset[str] | None = None


class Responses:
    def __init__(self, store: ResponseStore, tombstones: Tombstones | None, *, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock or Clock()
        self._tombstones = tombstones
        self._deletions: set[asyncio.Task[None]] = set()

    async def finish(self) -> None:
        """Waits for deletions whose callers have gone away."""
        await asyncio.gather(*self._deletions, return_exceptions=True)

    async def get(self, grant: Grant, response_id: str) -> Answer:
        stored, head = await self._found(grant, READ, response_id)
        etag = await _off_loop(stored, lambda: stored.sha256[:32]) if head.finished else None
        size = len(stored.value)
        return Answer(_one(stored.value), 2 * size, 3 * size, etag)

    async def list(self, grant: Grant, channel: str, listing: Listing) -> Answer:
        _require(grant, READ, channel)
        small = listing.fields is not None and not listing.fields & {"parts", "text"}
        page = await _read(
            self._store.list_channel(
                channel,
                limit=listing.limit,
                before=listing.before,
                status=listing.status,
                max_bytes=PAGE_BYTES if small else STORED_BYTES,
            )
        )
        return _page(page, listing.fields)

    async def hydrate(self, grant: Grant, channel: str, limit: int, before: str | None) -> Answer:
        _require(grant, READ, channel)
        return _page(await _read(self._store.hydrate(channel, limit=limit, before=before, max_bytes=STORED_BYTES)))

    async def delete(self, grant: Grant, response_id: str) -> None:
        """The log first: what fails after it, the archive does. The other way round a failure would leave the log's copy.

        Once the tombstone is on its way a caller that goes away changes nothing: the deletion runs to its end.
        """
        stored, head = await self._found(grant, DELETE, response_id)
        if self._tombstones is None:
            raise unavailable("This server was started without Kafka, where a deletion is written first.")
        deletion = asyncio.create_task(self._delete(self._tombstones, stored, head, grant.credential))
        self._deletions.add(deletion)
        deletion.add_done_callback(self._deleted)
        await asyncio.shield(deletion)

    def _deleted(self, deletion: asyncio.Task[None]) -> None:
        self._deletions.discard(deletion)
        if not deletion.cancelled():
            deletion.exception()  # the caller has it, or is gone

    async def _delete(self, tombstones: Tombstones, stored: StoredResponse, head: Head, credential: str) -> None:
        stale_before = self._clock.wall_ms() - STALE_MS
        try:
            deletion = await delete_everywhere(
                self._store, tombstones, stored, finished=head.finished, open_before=stale_before
            )
        except TombstoneUndetermined as error:
            raise unavailable(
                f"It is not known whether the response is deleted: {error}. Send the request again."
            ) from error
        except KafkaUnavailable as error:
            raise unavailable(f"Nothing was deleted: {error}") from error
        if deletion is Deletion.OPEN:
            raise _still_open()
        log.info("response_deleted", responseId=stored.response_id, credential=credential)

    async def _found(self, grant: Grant, operation: str, response_id: str) -> tuple[StoredResponse, Head]:
        """A response of a channel that the caller may not read does not exist for the caller."""
        stored = await self._store.get(response_id)
        if stored is None:
            raise not_found()
        head = await _off_loop(stored, lambda: read_head(stored.value))
        if grant.allows(operation, head.channel):
            return stored, head
        if grant.allows(READ, head.channel):
            raise _forbidden(operation)
        raise not_found()


async def _off_loop(stored: StoredResponse, work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work) if len(stored.value) >= IN_THREAD_FROM else work()


def _one(value: bytes) -> Pieces:
    yield render(value)


async def _read(page: Awaitable[Page]) -> Page:
    try:
        return await page
    except CursorInvalid as error:
        raise bad_request(str(error)) from None


def _page(page: Page, fields: frozenset[str] | None = None) -> Answer:
    sizes = [len(item.value) for item in page.items]
    memory = sum(sizes) + 2 * max(sizes, default=0)
    return Answer(render_page(page.items, page.next, fields), 2 * sum(sizes), memory)


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
