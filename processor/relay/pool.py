"""The pool of connections: every active channel pinned to one of them, at its own pace.

Ably orders messages per connection and limits their rate per connection and per channel. So a channel stays where it is
while it is active, and the pool grows with the active channels.
"""

import asyncio
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol, Self

from processor.ably.ably import ACK_DEADLINE, MAX_ACK_DEADLINE, AblyOptions, Connection, HistoryReader
from processor.ably.batches import BatchLink, RequestPace
from processor.ably.history import ChannelHistory
from processor.ably.progress import Progress
from processor.ably.refusals import Meaning, Refusal
from processor.clock import Clock
from processor.core.framer import Frame
from processor.core.pacing import Pace
from processor.telemetry.metrics import CONNECTION_STATES, Metrics

IDLE_RELEASE = 60.0
SWEEP = 15.0
SHOW = 1.0
UNPACED_CHANNELS = 256
"""Channels a connection takes before another is opened, where nothing limits its rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """Rates are messages a second; 0 is no pace."""

    max_connections: int = 20
    connection_rate: float = 45.0
    channel_rate: float = 25.0
    batches: bool = False
    """Publish by REST, many channels a request; `connection_rate` is then requests a second."""

    @property
    def channels_per_connection(self) -> int:
        """How many busy channels fill a connection."""
        if self.batches:
            return sys.maxsize
        if not self.connection_rate or not self.channel_rate:
            return UNPACED_CHANNELS
        return max(1, math.ceil(self.connection_rate / self.channel_rate))


class RatePace(Protocol):
    """See `processor.core.pacing.Pace`."""

    def delay(self, now: float, *, urgent: bool = False) -> float: ...
    def spend(self, now: float) -> None: ...
    def slow_down(self, now: float) -> None: ...
    def share(self, now: float) -> float: ...


class Link(Protocol):
    """A way to the service that mends itself while `run` runs: a realtime `Connection`, or a `BatchLink`."""

    channels: int
    state: str
    refusal: str | None
    """Why the service does not take our credentials, as a sentence; None while it does."""

    @property
    def pace(self) -> RatePace: ...
    async def run(self) -> None: ...
    async def connected(self) -> None: ...
    async def publish(self, frame: Frame, deadline: float) -> None: ...
    def recheck_key(self) -> None: ...


class ChannelSlot:
    """A channel's place on its connection. See `processor.ports.realtime.Slot`."""

    __slots__ = ("_pool", "_turn", "connection", "idle_since", "pace", "users")

    def __init__(self, pool: "ConnectionPool", connection: Link, pace: Pace) -> None:
        self._pool = pool
        self._turn = asyncio.Lock()
        self.connection = connection
        self.pace = pace
        self.users = 0
        self.idle_since = 0.0

    async def __aenter__(self) -> None:
        await self._turn.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._turn.release()

    def delay(self, *, urgent: bool) -> float:
        now = self._pool.clock.monotonic()
        return max(self.pace.delay(now, urgent=urgent), self.connection.pace.delay(now, urgent=urgent))

    async def connected(self) -> None:
        await self.connection.connected()

    async def publish(self, frame: Frame, attempt: int) -> None:
        now = self._pool.clock.monotonic()
        self.pace.spend(now)
        self.connection.pace.spend(now)
        self._pool.progress.asked(now)
        deadline = min(MAX_ACK_DEADLINE, ACK_DEADLINE * 2 ** min(attempt, 4))
        try:
            await self.connection.publish(frame, deadline)
        except Refusal as refusal:
            self._pool.progress.answered()
            self._slow_down(refusal.meaning)
            if refusal.meaning is Meaning.ACCOUNT:
                why = f"the realtime service refuses the account ({refusal.code}): {refusal.message}"
                self._pool.account_refusal = why
                self.connection.recheck_key()
            raise refusal.error() from None
        self._pool.account_refusal = None
        self._pool.progress.answered()

    def _slow_down(self, meaning: Meaning) -> None:
        now = self._pool.clock.monotonic()
        if meaning in {Meaning.SLOW_CHANNEL, Meaning.SLOW_ALL}:
            self.pace.slow_down(now)
        if meaning in {Meaning.SLOW_CONNECTION, Meaning.SLOW_ALL}:
            self.connection.pace.slow_down(now)


class ConnectionPool:
    """The realtime service, as `processor.ports.realtime.Realtime`. Works while entered."""

    def __init__(self, ably: AblyOptions, options: PoolOptions, metrics: Metrics, clock: Clock, random: Random) -> None:
        self._ably = ably
        self._history = HistoryReader(ably)
        self._options = options
        self._metrics = metrics
        self._random = random
        self._slots: dict[str, ChannelSlot] = {}
        self._connections: list[Link] = []
        self._tasks = asyncio.TaskGroup()
        self._running: list[asyncio.Task[None]] = []
        self.clock = clock
        self.account_refusal: str | None = None
        self.progress = Progress(clock.monotonic())

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._grow()
        self._running.append(self._tasks.create_task(self._sweep_for_ever()))
        self._running.append(self._tasks.create_task(self._show_paces_for_ever()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)
        await self._history.close()
        self._show_states()

    def slot(self, channel: str) -> ChannelSlot:
        slot = self._slots.get(channel)
        if slot is None:
            connection = self._least_loaded()
            connection.channels += 1
            rate = self._options.channel_rate
            slot = ChannelSlot(self, connection, Pace(rate, rate / 5, self.clock.monotonic()))
            self._slots[channel] = slot
        slot.users += 1
        return slot

    def release(self, channel: str) -> None:
        slot = self._slots[channel]
        slot.users -= 1
        slot.idle_since = self.clock.monotonic()

    async def history(self, channel: str, within: float) -> ChannelHistory:
        return await self._history.read(channel, within)

    def refusal(self) -> str | None:
        """Why nothing can be published for anyone, as a sentence; None while something can."""
        refused = [connection.refusal for connection in self._connections]
        if refused and all(refused):
            return refused[0]
        return self.account_refusal

    def standstill(self) -> str | None:
        """Returns why nothing is published though the service can be reached, as a sentence, or None."""
        return self.progress.standstill()

    def connected(self) -> int:
        return sum(connection.state == "connected" for connection in self._connections)

    def _least_loaded(self) -> Link:
        connection = min(self._connections, key=lambda each: each.channels)
        full = connection.channels >= self._options.channels_per_connection
        if full and len(self._connections) < self._options.max_connections:
            return self._grow()
        return connection

    def _grow(self) -> Link:
        connection = self._new_batch_link() if self._options.batches else self._new_connection(self._new_pace())
        self._connections.append(connection)
        self._running.append(self._tasks.create_task(connection.run()))
        return connection

    def _new_pace(self) -> Pace:
        rate = self._options.connection_rate
        return Pace(rate, rate / 9, self.clock.monotonic())

    def _new_batch_link(self) -> BatchLink:
        pace = RequestPace(self._options.connection_rate, self.clock.monotonic())
        return BatchLink(self._ably, pace, self._random, self.clock, self._show_states)

    def _new_connection(self, pace: Pace) -> Connection:
        return Connection(self._ably, pace, self._random, self._show_states)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            self._sweep()

    def _sweep(self) -> None:
        """Let go of channels that were idle for long."""
        long_ago = self.clock.monotonic() - IDLE_RELEASE
        for channel, slot in list(self._slots.items()):
            if slot.users == 0 and slot.idle_since < long_ago:
                slot.connection.channels -= 1
                del self._slots[channel]

    async def _show_paces_for_ever(self) -> None:
        while True:
            self._look()
            self._show_paces("connection", [connection.pace for connection in self._connections])
            self._show_paces("channel", [slot.pace for slot in self._slots.values()])
            await asyncio.sleep(SHOW)

    def _look(self) -> None:
        now = self.clock.monotonic()
        if self.connected():
            self.progress.connected(now)
        self.progress.look(now)

    def _show_paces(self, scope: str, paces: Sequence[RatePace]) -> None:
        now = self.clock.monotonic()
        shares = [pace.share(now) for pace in paces]
        self._metrics.pace_ratio.labels(scope).set(min(shares, default=1.0))
        self._metrics.paces_lowered.labels(scope).set(sum(share < 1 for share in shares))

    def _show_states(self) -> None:
        if self.connected():
            self.progress.connected(self.clock.monotonic())
        for state in CONNECTION_STATES:
            count = sum(connection.state == state for connection in self._connections)
            self._metrics.ably_connections.labels(state).set(count)
