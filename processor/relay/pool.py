"""The pool of links: every active channel is pinned to one of them, at its own rate.

A realtime service orders messages per link, and limits their rate per link and per channel. So an active channel
keeps its link, and the pool grows with the number of active channels.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Self

from processor.clock import Clock
from processor.core.framer import Frame
from processor.core.pacing import Pace
from processor.errors import PublishRefused, PublishRetry, RefusalKind
from processor.ports.realtime import History, Link, LinkState, Provider, RatePace
from processor.relay.progress import Progress
from processor.telemetry.metrics import Metrics

IDLE_RELEASE = 60.0
SWEEP = 15.0
SHOW = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """`channel_rate` is messages a second; 0 is no pace."""

    max_links: int = 20
    channel_rate: float = 25.0


@dataclass(slots=True, eq=False)
class PooledLink:
    """A link, the number of channels pinned to it, and whether its messages are answered."""

    link: Link
    progress: Progress
    channels: int = 0

    @property
    def connected(self) -> bool:
        return self.link.state is LinkState.CONNECTED


class ChannelSlot:
    """A channel's place on its link. See `processor.ports.realtime.Slot`."""

    __slots__ = ("_pool", "_turn", "idle_since", "pace", "pinned", "users")

    def __init__(self, pool: "ConnectionPool", pinned: PooledLink, pace: Pace) -> None:
        self._pool = pool
        self._turn = asyncio.Lock()
        self.pinned = pinned
        self.pace = pace
        self.users = 0
        self.idle_since = 0.0

    async def __aenter__(self) -> None:
        await self._turn.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._turn.release()

    def delay(self, *, urgent: bool) -> float:
        now = self._pool.clock.monotonic()
        return max(self.pace.delay(now, urgent=urgent), self.pinned.link.pace.delay(now, urgent=urgent))

    async def connected(self) -> None:
        await self.pinned.link.connected()

    async def publish(self, frame: Frame, attempt: int) -> None:
        now, link = self._pool.clock.monotonic(), self.pinned.link
        self.pace.spend(now)
        link.pace.spend(now)
        self.pinned.progress.asked(now)
        try:
            await link.publish(frame, self._pool.deadline(attempt))
        except (PublishRetry, PublishRefused) as error:
            if error.kind is not RefusalKind.UNDETERMINED:
                self._refused(error)
            raise
        self._pool.account_refusal = None
        self.pinned.progress.answered()

    def _refused(self, refusal: PublishRetry | PublishRefused) -> None:
        self.pinned.progress.answered()
        self._slow_down(refusal.kind)
        if refusal.kind is RefusalKind.CREDENTIALS:
            self._pool.account_refusal = f"the realtime service refuses the account ({refusal.code}): {refusal}"
            self.pinned.link.recheck_credentials()

    def _slow_down(self, kind: RefusalKind) -> None:
        now = self._pool.clock.monotonic()
        if kind in {RefusalKind.SLOW_CHANNEL, RefusalKind.SLOW_ALL}:
            self.pace.slow_down(now)
        if kind in {RefusalKind.SLOW_LINK, RefusalKind.SLOW_ALL}:
            self.pinned.link.pace.slow_down(now)


class ConnectionPool:
    """The realtime service, as `processor.ports.realtime.Realtime`. Works while entered."""

    def __init__(
        self, provider: Provider, options: PoolOptions, metrics: Metrics, clock: Clock, random: Random
    ) -> None:
        self._provider = provider
        self._options = options
        self._metrics = metrics
        self._random = random
        self._slots: dict[str, ChannelSlot] = {}
        self._links: list[PooledLink] = []
        self._tasks = asyncio.TaskGroup()
        self._running: list[asyncio.Task[None]] = []
        self.clock = clock
        self.account_refusal: str | None = None
        metrics.expect_publish_codes(provider.profile.refusal_codes)

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
        await self._provider.histories.close()
        self._show_states()

    def deadline(self, attempt: int) -> float:
        """Returns the seconds that an attempt waits for its answer."""
        profile = self._provider.profile
        return min(profile.max_ack_deadline, profile.ack_deadline * 2.0 ** min(attempt, 4))

    def slot(self, channel: str) -> ChannelSlot:
        slot = self._slots.get(channel)
        if slot is None:
            pinned = self._least_loaded()
            pinned.channels += 1
            rate = self._options.channel_rate
            slot = ChannelSlot(self, pinned, Pace(rate, rate / 5, self.clock.monotonic()))
            self._slots[channel] = slot
        slot.users += 1
        return slot

    def release(self, channel: str) -> None:
        slot = self._slots[channel]
        slot.users -= 1
        slot.idle_since = self.clock.monotonic()

    async def history(self, channel: str, within: float) -> History:
        return await self._provider.histories.read(channel, within)

    def refusal(self) -> str | None:
        """Why nothing can be published for anyone, as a sentence; None while something can."""
        refused = [pinned.link.refusal for pinned in self._links]
        if refused and all(refused):
            return refused[0]
        return self.account_refusal

    def standstill(self) -> str | None:
        """Returns why a link publishes nothing though the service can be reached, as a sentence, or None."""
        return next((sentence for pinned in self._links if (sentence := pinned.progress.standstill())), None)

    def connected(self) -> int:
        return sum(pinned.connected for pinned in self._links)

    def _least_loaded(self) -> PooledLink:
        pinned = min(self._links, key=lambda each: each.channels)
        full = pinned.channels >= self._provider.profile.channels_per_link
        if full and len(self._links) < self._options.max_links:
            return self._grow()
        return pinned

    def _grow(self) -> PooledLink:
        link = self._provider.new_link(self._show_states)
        pinned = PooledLink(link, Progress(self.clock.monotonic()))
        self._links.append(pinned)
        self._running.append(self._tasks.create_task(link.run()))
        return pinned

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            self._sweep()

    def _sweep(self) -> None:
        """Releases channels that have been idle for long."""
        long_ago = self.clock.monotonic() - IDLE_RELEASE
        for channel, slot in list(self._slots.items()):
            if slot.users == 0 and slot.idle_since < long_ago:
                slot.pinned.channels -= 1
                del self._slots[channel]

    async def _show_paces_for_ever(self) -> None:
        while True:
            self.look()
            self._show_paces("connection", [pinned.link.pace for pinned in self._links])
            self._show_paces("channel", [slot.pace for slot in self._slots.values()])
            await asyncio.sleep(SHOW)

    def look(self) -> None:
        """Observes whether the links make progress. Called about once a second."""
        now = self.clock.monotonic()
        for pinned in self._links:
            if pinned.connected:
                pinned.progress.connected(now)
            pinned.progress.look(now)

    def _show_paces(self, scope: str, paces: Sequence[RatePace]) -> None:
        now = self.clock.monotonic()
        shares = [pace.share(now) for pace in paces]
        self._metrics.pace_ratio.labels(scope).set(min(shares, default=1.0))
        self._metrics.paces_lowered.labels(scope).set(sum(share < 1 for share in shares))

    def _show_states(self) -> None:
        now = self.clock.monotonic()
        for pinned in self._links:
            if pinned.connected:
                pinned.progress.connected(now)
        counts = Counter(pinned.link.state for pinned in self._links)
        for state in LinkState:
            self._metrics.realtime_connections.labels(state).set(counts[state])
