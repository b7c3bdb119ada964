"""Writes a stream from its beginning to its end: first snapshots or backlog, then what the hub pushes."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from random import Random
from typing import Protocol

import orjson
import structlog

from processor.clock import Clock
from processor.errors import StoreUnavailable, TokenstreamError
from processor.gateway.clients import StreamClient, StreamState, Wire
from processor.gateway.deltas import FrameMissing
from processor.gateway.events import event, event_line, snapshot_line
from processor.gateway.hub import Hub
from processor.gateway.places import Once, SnapshotPlace, SnapshotPlaces
from processor.gateway.resume import BeginWithSnapshots, ResumeAfter
from processor.gateway.snapshots import FirstPage, Snapshots
from processor.gateway.transcripts import ResponseSnapshot

BACKLOG_FRAMES = 256
"""Frames taken from the buffer at one time, so that a slow reader pins no others."""
RETRY_MS = 1_000
RETRY_JITTER_MS = 2_000
STALLED_SECONDS = 120.0
"""A reader that takes nothing for so long is disconnected."""
STORE_RETRY_SECONDS = 2.0

log = structlog.stdlib.get_logger("tokenstream.gateway")


class ReaderStalled(TokenstreamError):
    """The reader took nothing for `STALLED_SECONDS`."""


class StreamWire(Wire, Protocol):
    async def drained(self) -> None:
        """Returns when most of what was written is on its way. Raises ConnectionError where the reader is gone."""
        ...

    def abort(self) -> None:
        """Ends the connection at once: `drained` raises then."""
        ...


class Outcome(Enum):
    LOST_PLACE = auto()
    ENDED = auto()
    CLOSING = auto()


@dataclass(frozen=True, slots=True)
class DeliveryParts:
    """`counted` is called with the number of events written."""

    hub: Hub
    snapshots: Snapshots
    places: SnapshotPlaces
    clock: Clock
    random: Random
    counted: Callable[[int], None]
    reset: Callable[[], None]


class StreamDelivery:
    """One stream. `close` ends it with `bye`. `place` may be held already, with the first record in memory."""

    def __init__(
        self, parts: DeliveryParts, client: StreamClient, wire: StreamWire, place: SnapshotPlace | None = None
    ) -> None:
        self._place = place or SnapshotPlace(parts.places)
        self._place.leave = wire.abort
        self._clock = parts.clock
        self._hub = parts.hub
        self._snapshots = parts.snapshots
        self._random = parts.random
        self._counted = parts.counted
        self._reset = parts.reset
        self._wire = wire
        self._awake = asyncio.Event()
        self._closing = False
        self.client = client
        client.wake = self._awake.set

    def close(self) -> None:
        self._closing = True
        self._awake.set()

    def retry_ms(self) -> int:
        return RETRY_MS + int(self._random.random() * RETRY_JITTER_MS)

    async def run_channels(
        self, begin: ResumeAfter | BeginWithSnapshots, first: Once[FirstPage] | None, limit: int
    ) -> None:
        """Serves all frames of the client's channels until it is closed. Raises ConnectionError, ReaderStalled."""
        whole = True
        try:
            outcome = await self._serve_channels(begin, first, limit)
        except StoreUnavailable as error:
            log.warning("gateway_store_unavailable", error=str(error))
            outcome, whole = Outcome.CLOSING, False
        if outcome is not Outcome.ENDED:
            await self._say_bye(whole=whole)

    async def _serve_channels(
        self, begin: ResumeAfter | BeginWithSnapshots, first: Once[FirstPage] | None, limit: int
    ) -> Outcome:
        """Raises StoreUnavailable: the reader had better come back to another gateway, or later."""
        if isinstance(begin, BeginWithSnapshots):
            await self._send_snapshots(first, limit, returning=begin.returning)
        else:
            self._resume(begin)
        while (outcome := await self._follow()) is Outcome.LOST_PLACE:
            await self._let_drain()
            self._reset()
            self.client.move_to(self._hub.buffer.ends, self._hub.buffer.serial)
            await self._send(event("reset", self.client.position(whole=False), event_line(None, "reset", None, None)))
            await self._send_snapshots(None, limit, returning=True)
        return outcome

    async def run_response(self, begin: ResumeAfter | None, first: Once[ResponseSnapshot]) -> None:
        """Serves one response until its end. Raises ConnectionError, ReaderStalled."""
        if begin is None:
            await self._send_record(first.take())
        else:
            first.take()
            self._resume(begin)
        self._place.give_back()
        whole = True
        while (outcome := await self._follow()) is Outcome.LOST_PLACE:
            await self._let_drain()
            self.client.move_to(self._hub.buffer.ends, self._hub.buffer.serial)
            if not await self._send_current():
                outcome, whole = Outcome.CLOSING, False
                break
        if outcome is not Outcome.ENDED and self.client.stream is not None and self.client.stream.resumable:
            await self._say_bye(whole=whole)

    async def _send_current(self) -> bool:
        """Returns False where nothing is known of the response now."""
        assert self.client.only is not None, "a stream of one response"
        try:
            await self._snapshots.settle(self.client.only)
            await self._place.take()
            snapshot = await self._snapshots.current(self.client.only)
            if snapshot is not None:
                await self._send_record(snapshot)
        except StoreUnavailable:
            return False
        finally:
            self._place.give_back()
        return snapshot is not None

    async def _send_record(self, snapshot: ResponseSnapshot) -> None:
        client = self.client
        assert client.stream is not None, "a stream of one response"
        client.covered[snapshot.response_id] = sys.maxsize if snapshot.finished else snapshot.serial
        block = client.stream.of_record(orjson.loads(snapshot.value), snapshot.value, client.position())
        await self._send(block)

    def _resume(self, begin: ResumeAfter) -> None:
        buffer, client = self._hub.buffer, self.client
        # Frames may have left the buffer since the position was read. From number 0, `backlog` finds that out.
        held = buffer.holds(begin.offsets, client.partitions)
        client.move_to(begin.offsets, buffer.serial_at(client.channels, begin.offsets) if held else 0)

    async def _send_snapshots(self, first: Once[FirstPage] | None, limit: int, *, returning: bool) -> None:
        """`first` is the page of the first channel in alphabetical order, where it was read already."""
        client = self.client
        client.state = StreamState.LOADING
        ids = self._hub.begin_with_snapshots(client)
        ended = self._hub.ended_lately(client) if returning else []
        try:
            for number, channel in enumerate(sorted(client.channels)):
                await self._send_stored(first if number == 0 else None, channel, limit)
            for response_id in [*ended, *ids]:
                if response_id not in client.covered:
                    await self._send_known(response_id)
        finally:
            self._place.give_back()
        only = next(iter(client.channels)) if len(client.channels) == 1 else None
        await self._send(event("ready", client.position(), event_line(only, "ready", None, None)))

    async def _send_stored(self, first: Once[FirstPage] | None, channel: str, limit: int) -> None:
        await self._place.take()
        page = await self._snapshots.first_page(channel, limit) if first is None else first.take()
        async for snapshot in self._snapshots.of_channel(page, limit):
            await self._send_snapshot(snapshot)

    async def _send_known(self, response_id: str) -> None:
        if self._snapshots.lacks(response_id):
            self._place.give_back()  # others need not wait until it is complete
            await self._snapshots.settle(response_id)
        await self._place.take()
        current = await self._snapshots.current(response_id)
        if current is not None:
            await self._send_snapshot(current)

    async def _send_snapshot(self, snapshot: ResponseSnapshot) -> None:
        client = self.client
        client.covered[snapshot.response_id] = sys.maxsize if snapshot.finished else snapshot.serial
        line = snapshot_line(snapshot.channel, snapshot.response_id, snapshot.seq, snapshot.value)
        await self._send(event("snapshot", client.position(whole=False), line))

    async def _follow(self) -> Outcome:
        """Writes the backlog, and returns when something else than the next frame is due."""
        client = self.client
        self._awake.clear()
        try:
            while frames := self._hub.backlog(client, BACKLOG_FRAMES):
                for frame in frames:
                    if block := client.take(frame):
                        await self._send(block)
                    if self._ended():
                        return Outcome.ENDED
                    if self._closing:
                        return Outcome.CLOSING
        except FrameMissing:
            return Outcome.LOST_PLACE
        if frames is None:
            return Outcome.LOST_PLACE
        if self._ended():
            return Outcome.ENDED
        if self._missed_end():
            return Outcome.LOST_PLACE
        client.go_live()
        if not self._closing:
            await self._awake.wait()
        if self._ended():
            return Outcome.ENDED
        lagging = client.state is StreamState.LAGGING
        client.state = StreamState.LOADING
        return Outcome.CLOSING if self._closing else Outcome.LOST_PLACE if lagging else await self._follow()

    def _missed_end(self) -> bool:
        """Whether the final record came before the stream was live: the log need not have a stop."""
        ended = None if self.client.only is None else self._hub.transcripts.ended(self.client.only)
        return ended is not None and ended.value is not None

    def _ended(self) -> bool:
        return self.client.stream is not None and self.client.stream.ended

    async def _say_bye(self, *, whole: bool) -> None:
        """`whole`: nothing before the stream's position is missing."""
        line = event_line(None, "bye", None, None)
        await self._send(event("bye", self.client.position(whole=whole), line, retry_ms=self.retry_ms()))

    async def _send(self, block: bytes) -> None:
        if block:
            self._wire.write(block)
            self._counted(1)
            await self._let_drain()

    async def _let_drain(self) -> None:
        self._place.sending = self._clock.monotonic()
        try:
            async with asyncio.timeout(STALLED_SECONDS):
                await self._wire.drained()
        except TimeoutError:
            raise ReaderStalled from None
        finally:
            self._place.sending = None


async def spread(
    deliveries: Sequence[StreamDelivery], seconds: float, least_gap: float = 0.02
) -> AsyncIterator[StreamDelivery]:
    """Yields the deliveries spread over at most `seconds`, so that readers do not all reconnect at once."""
    gap = min(least_gap, seconds / max(1, len(deliveries)))
    for delivery in deliveries:
        yield delivery
        await asyncio.sleep(gap)
