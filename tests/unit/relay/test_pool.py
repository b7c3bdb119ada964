"""The pool publishes over whatever links a provider makes, by the numbers of its profile."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest

from processor.clock import Clock
from processor.core.channel_history import ChannelHistory
from processor.core.framer import Frame
from processor.core.pacing import Pace
from processor.errors import PublishRefused, PublishRetry, RefusalKind
from processor.ports.realtime import LinkState, Provider, RealtimeProfile
from processor.relay.pool import ConnectionPool, PoolOptions
from processor.relay.progress import STANDSTILL
from processor.telemetry.metrics import Metrics
from support.waiting import eventually

PROFILE = RealtimeProfile(
    max_frame_bytes=1_000,
    duplicate_window=60.0,
    ack_deadline=2.0,
    max_ack_deadline=10.0,
    channels_per_link=2,
    refusal_codes=frozenset({7}),
)


class FakeLink:
    """Answers each message with `answer`; an error is raised."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self.state = LinkState.INITIALIZED
        self.refusal: str | None = None
        self.pace = Pace(10.0, 1.0, 0.0)
        self.answer: PublishRetry | PublishRefused | None = None
        self.deadlines: list[float] = []
        self.rechecks = 0

    async def run(self) -> None:
        self.state = LinkState.CONNECTED
        self._changed()
        await asyncio.Event().wait()

    async def connected(self) -> None: ...

    async def publish(self, frame: Frame, deadline: float) -> None:
        del frame
        self.deadlines.append(deadline)
        if self.answer is not None:
            raise self.answer

    def recheck_credentials(self) -> None:
        self.rechecks += 1


class NoHistories:
    async def read(self, channel: str, within: float) -> ChannelHistory:
        raise PublishRetry(f"none of {channel} within {within}")

    async def close(self) -> None: ...


class World:
    """A clock set by hand, and the links that the pool asked for."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.links: list[FakeLink] = []
        self.metrics = Metrics()

    def monotonic(self) -> float:
        return self.now

    def new_link(self, changed: Callable[[], None]) -> FakeLink:
        self.links.append(FakeLink(changed))
        return self.links[-1]

    @asynccontextmanager
    async def pool(self, **options: float) -> AsyncIterator[ConnectionPool]:
        provider = Provider(profile=PROFILE, new_link=self.new_link, histories=NoHistories())
        pool_options = PoolOptions(max_links=2, channel_rate=options.get("channel_rate", 0.0))
        pool = ConnectionPool(provider, pool_options, self.metrics, Clock(self.monotonic), Random(1))
        async with pool:
            await eventually(lambda: pool.connected() == 1)
            yield pool


def frame(channel: str) -> Frame:
    return Frame(channel=channel, response_id="r", name="token", id="r/1", data="x", json=False, headers={})


def refused(kind: RefusalKind, code: int = 7) -> PublishRetry:
    return PublishRetry("no", kind=kind, code=code)


async def test_links_are_opened_as_the_profile_fills_them() -> None:
    world = World()
    async with world.pool() as pool:
        for number in range(9):
            pool.slot(f"c{number}")
        assert len(world.links) == 2, "and no more than the options allow"


async def test_each_attempt_waits_longer_as_far_as_the_profile_says() -> None:
    world = World()
    async with world.pool() as pool:
        for attempt in range(5):
            await pool.slot("c").publish(frame("c"), attempt)
    assert world.links[0].deadlines == [2.0, 4.0, 8.0, 10.0, 10.0]


@pytest.mark.parametrize(
    ("kind", "of_link", "of_channel"),
    [
        (RefusalKind.SLOW_LINK, True, False),
        (RefusalKind.SLOW_CHANNEL, False, True),
        (RefusalKind.SLOW_ALL, True, True),
        (RefusalKind.PASSING, False, False),
        (RefusalKind.UNDETERMINED, False, False),
    ],
)
async def test_a_refusal_slows_down_what_it_is_about(kind: RefusalKind, of_link: bool, of_channel: bool) -> None:
    world = World()
    async with world.pool(channel_rate=10.0) as pool:
        slot, (link,) = pool.slot("c"), world.links
        link.answer = refused(kind)
        with pytest.raises(PublishRetry):
            await slot.publish(frame("c"), 0)
        assert (link.pace.share(world.now) < 1, slot.pace.share(world.now) < 1) == (of_link, of_channel)


async def test_refused_credentials_are_shown_until_a_message_is_taken() -> None:
    world = World()
    async with world.pool() as pool:
        slot, (link,) = pool.slot("c"), world.links
        link.answer = refused(RefusalKind.CREDENTIALS)
        with pytest.raises(PublishRetry):
            await slot.publish(frame("c"), 0)
        assert "refuses the account (7): no" in (pool.refusal() or "")
        assert link.rechecks == 1
        link.answer = None
        await slot.publish(frame("c"), 1)
        assert pool.refusal() is None


async def test_a_link_that_stands_still_shows_beside_one_that_is_answered() -> None:
    world = World()
    async with world.pool() as pool:
        slots = [pool.slot(f"c{number}") for number in range(3)]
        await eventually(lambda: pool.connected() == 2)
        world.links[0].answer = refused(RefusalKind.UNDETERMINED, 0)

        async def minutes_pass() -> bool:
            world.now += 4.0
            for slot in (slots[0], slots[2]):
                try:
                    await slot.publish(frame("c"), 0)
                except PublishRetry:
                    continue
            pool.look()
            return world.now > 1_000.0 + STANDSTILL + 60

        await eventually(minutes_pass, every=0.0)
        assert "answered nothing" in (pool.standstill() or "")
        world.links[0].answer = refused(RefusalKind.PASSING)
        with pytest.raises(PublishRetry):
            await slots[0].publish(frame("c"), 0)
        assert pool.standstill() is None


async def test_codes_of_the_profile_have_series_of_their_own() -> None:
    world = World()
    async with world.pool():
        world.metrics.count_publish_failure(7)
        world.metrics.count_publish_failure(8)
    value = world.metrics.registry.get_sample_value
    assert value("tokenstream_publish_failures_total", {"code": "7"}) == 1
    assert value("tokenstream_publish_failures_total", {"code": "other"}) == 1
