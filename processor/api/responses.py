"""What `/v1` answers about responses. Takes decoded arguments, gives answers; routing and headers are the app's."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from processor.api.access import DELETE, READ, Grant
from processor.api.errors import ApiError, bad_request, forbidden, not_found, unavailable
from processor.api.render import render, render_page
from processor.errors import KafkaUnavailable
from processor.store_port import (
    PAGE_BYTES,
    Cursor,
    CursorInvalid,
    Deletion,
    ResponseStore,
    StoredResponse,
    Tombstones,
)
from topics.records import Status

MAX_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """`etag` is given where the body can only change by deletion."""

    body: bytes
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The query of a channel's listing, checked."""

    limit: int
    before: str | None = None
    status: frozenset[Status] | None = None
    fields: frozenset[str] | None = None


class Responses:
    def __init__(self, store: ResponseStore, tombstones: Tombstones | None) -> None:
        self._store = store
        self._tombstones = tombstones

    async def get(self, grant: Grant, response_id: str) -> Answer:
        stored = await self._found(grant, READ, response_id)
        body = await asyncio.to_thread(render, stored)
        return Answer(body, stored.sha256[:32] if stored.record.finished else None)

    async def list(self, grant: Grant, channel: str, listing: Listing) -> Answer:
        _require(grant, READ, channel)
        try:
            page = await self._store.list_channel(
                channel, limit=listing.limit, before=listing.before, status=listing.status
            )
        except CursorInvalid as error:
            raise bad_request(str(error)) from error
        return Answer(await asyncio.to_thread(_bounded, page.items, page.next, listing.fields))

    async def hydrate(self, grant: Grant, channel: str, limit: int) -> Answer:
        _require(grant, READ, channel)
        page = await self._store.hydrate(channel, limit=limit)
        items = await asyncio.to_thread(lambda: [render(item) for item in page.items])
        return Answer(render_page(items, page.next))

    async def delete(self, grant: Grant, response_id: str) -> None:
        """The log first: what fails after it, the archive does. The other way round a failure would leave the log's copy for good."""
        stored = await self._found(grant, DELETE, response_id)
        if not stored.record.finished:
            raise _still_open()
        if self._tombstones is None:
            raise unavailable("this server was started without Kafka, where a deletion is written first")
        try:
            await self._tombstones.write(response_id, stored.position.partition)
        except KafkaUnavailable as error:
            raise unavailable(f"nothing was deleted: {error}") from error
        if await self._store.delete(response_id) is Deletion.OPEN:
            raise _still_open()

    async def _found(self, grant: Grant, operation: str, response_id: str) -> StoredResponse:
        stored = await self._store.get(response_id)
        if stored is None:
            raise not_found()
        _require(grant, operation, stored.record.channel)
        return stored


def _require(grant: Grant, operation: str, channel: str) -> None:
    if not grant.allows(operation, channel):
        raise forbidden(f"the credential does not grant `{operation}` on this channel")


def _still_open() -> ApiError:
    return ApiError(409, "response_open", "the response has not finished; cancel it, and delete it then")


def _bounded(items: Sequence[StoredResponse], following: str | None, fields: frozenset[str] | None) -> bytes:
    """A page of at most `PAGE_BYTES`, or of one record: rendered, records are larger than stored."""
    rendered: list[bytes] = []
    total = 0
    for index, item in enumerate(items):
        body = render(item, fields)
        total += len(body)
        if rendered and total > PAGE_BYTES:
            last = items[index - 1]
            return render_page(rendered, Cursor(last.record.started_at, last.response_id).encode())
        rendered.append(body)
    return render_page(rendered, following)
