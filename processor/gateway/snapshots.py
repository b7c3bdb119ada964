"""Response records for readers: of open responses from memory, of finished ones from the store."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from processor.api.render import render
from processor.clock import Clock
from processor.errors import StoreUnavailable
from processor.gateway.hub import Hub
from processor.gateway.transcripts import EndedResponse, ResponseSnapshot, read_summary
from processor.ports.store import Page, StoredResponse

STORE_READS_AT_ONCE = 8
STORE_SECONDS = 15.0
PAGE_BYTES = 2 * 1024 * 1024
IN_THREAD_FROM = 64 * 1024
COMPLETE_WITHIN = 10.0
"""Seconds that a snapshot waits for a record that completes it: a relay writes one every SNAPSHOT_INTERVAL, an archive stores it."""
ASK_AGAIN = 0.5


class StoredRecords(Protocol):
    """What the gateway reads from a `ResponseStore`. See there."""

    async def get(self, response_id: str) -> StoredResponse | None: ...
    async def hydrate(self, channel: str, *, limit: int, before: str | None = None, max_bytes: int = ...) -> Page: ...


@dataclass(frozen=True, slots=True)
class FirstPage:
    """What the store has of a channel, up to `PAGE_BYTES`, begun to be read before anything is answered."""

    channel: str
    items: Sequence[StoredResponse]
    following: str | None


class Snapshots:
    def __init__(self, hub: Hub, store: StoredRecords, clock: Clock) -> None:
        self._hub = hub
        self._store = store
        self._clock = clock
        self._turns = asyncio.Semaphore(STORE_READS_AT_ONCE)

    async def first_page(self, channel: str, limit: int) -> FirstPage:
        """Raises StoreUnavailable."""
        return await self._page(channel, limit, None)

    async def of_channel(self, first: FirstPage, limit: int) -> AsyncIterator[ResponseSnapshot]:
        """The newest `limit` finished responses, newest first, and open ones that only the store knows. Raises StoreUnavailable."""
        lately = sorted(
            self._hub.transcripts.ended_in(first.channel), key=lambda each: each[1].started_at, reverse=True
        )
        waiting, known = iter(lately), {response_id for response_id, _ in lately}
        newest, given = next(waiting, None), 0
        async for item in self._stored(first, limit):
            if item.finished:
                while newest is not None and newest[1].started_at >= item.started_at and given < limit:
                    given += 1
                    if (snapshot := await self._ended(*newest)) is not None:
                        yield snapshot
                    newest = next(waiting, None)
                if given >= limit:
                    break
                if item.response_id not in known:
                    given += 1
                    yield await rendered(item)
            elif item.response_id not in known and self._hub.transcripts.transcript(item.response_id) is None:
                yield await rendered(item)
        for response_id, ended in _rest(newest, waiting, limit - given):
            if (snapshot := await self._ended(response_id, ended)) is not None:
                yield snapshot

    def lacks(self, response_id: str) -> bool:
        """Whether a record has to come before the response can be shown."""
        transcript = self._hub.transcripts.transcript(response_id)
        return transcript is not None and transcript.lacks

    async def settle(self, response_id: str) -> None:
        """Returns once nothing lacks, or when a text that is in memory has waited long enough for what it lacks."""
        deadline = self._clock.monotonic() + COMPLETE_WITHIN
        while (transcript := self._hub.transcripts.transcript(response_id)) is not None and transcript.lacks:
            await self._complete(response_id, transcript.channel)
            if transcript.in_memory and self._clock.monotonic() > deadline:
                return
            if transcript.lacks:
                await asyncio.sleep(ASK_AGAIN)

    async def current(self, response_id: str) -> ResponseSnapshot | None:
        """What is known of a response now, open or finished; None where nothing is. To be called once it is settled.

        Raises StoreUnavailable.
        """
        transcript = self._hub.transcripts.transcript(response_id)
        if transcript is not None and not transcript.in_memory:  # evicted since it was settled
            await self.settle(response_id)
            transcript = self._hub.transcripts.transcript(response_id)
        if transcript is not None:
            return await rendered(transcript.snapshot(self._hub.buffer.serial))
        ended = self._hub.transcripts.ended(response_id)
        if ended is not None and ended.value is not None:
            return await self._ended(response_id, ended)
        stored = await self._get(response_id)
        return None if stored is None else await rendered(_snapshot(stored.value))

    async def _complete(self, response_id: str, channel: str) -> None:
        stored: StoredResponse | None = None
        with contextlib.suppress(StoreUnavailable):
            stored = await self._get(response_id)
        transcript = self._hub.transcripts.transcript(response_id)
        if transcript is None or not transcript.lacks:
            return
        frames = [frame.read_again() for frame in self._hub.buffer.of_response(channel, response_id)]
        value = None if stored is None else stored.value
        if value is not None or (frames and frames[0].frame.name == "start"):
            self._hub.transcripts.complete(response_id, value, frames, self._clock.wall_ms())

    async def _ended(self, response_id: str, ended: EndedResponse) -> ResponseSnapshot | None:
        value = ended.value
        if value is None:
            stored = await self._get(response_id)
            if stored is None:
                return None
            value = stored.value
        return await rendered(_snapshot(value))

    async def _stored(self, first: FirstPage, limit: int) -> AsyncIterator[ResponseSnapshot]:
        page, finished = first, 0
        while True:
            for item in page.items:
                snapshot = _snapshot(item.value)
                finished += snapshot.finished
                yield snapshot
            if page.following is None or finished >= limit:
                return
            page = await self._page(first.channel, limit, page.following)

    async def _page(self, channel: str, limit: int, before: str | None) -> FirstPage:
        async with self._reading():
            page = await self._store.hydrate(channel, limit=limit, before=before, max_bytes=PAGE_BYTES)
        return FirstPage(channel, page.items, page.next)

    async def _get(self, response_id: str) -> StoredResponse | None:
        async with self._reading():
            return await self._store.get(response_id)

    @contextlib.asynccontextmanager
    async def _reading(self) -> AsyncIterator[None]:
        """One of the turns to read from the store, bounded in time."""
        try:
            async with self._turns, asyncio.timeout(STORE_SECONDS):
                yield
        except TimeoutError:
            raise StoreUnavailable(f"the store gave no answer within {STORE_SECONDS:g} s") from None


def _rest(
    newest: tuple[str, EndedResponse] | None, waiting: Iterator[tuple[str, EndedResponse]], count: int
) -> Iterator[tuple[str, EndedResponse]]:
    while newest is not None and count > 0:
        yield newest
        newest, count = next(waiting, None), count - 1


def _snapshot(value: bytes) -> ResponseSnapshot:
    read = read_summary(value)
    return ResponseSnapshot(read.response_id, read.channel, read.seq, read.started_at, read.status.finished, value, 0)


async def rendered(snapshot: ResponseSnapshot) -> ResponseSnapshot:
    """The snapshot as the API shows it: with `text`, and the hash of each part."""
    large = len(snapshot.value) >= IN_THREAD_FROM
    value = await asyncio.to_thread(render, snapshot.value) if large else render(snapshot.value)
    return ResponseSnapshot(
        snapshot.response_id,
        snapshot.channel,
        snapshot.seq,
        snapshot.started_at,
        snapshot.finished,
        value,
        snapshot.serial,
    )
