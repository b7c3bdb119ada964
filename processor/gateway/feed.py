"""Reads Kafka into the hub: first the existing records of the topics, then new ones. Continues after every outage of
Kafka.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Protocol

import structlog

from processor.clock import Clock
from processor.core.backoff import Backoff
from processor.errors import KafkaUnavailable
from processor.gateway.hub import Hub
from processor.ports.followed import FollowedRecord
from processor.telemetry.log import where
from processor.telemetry.retry import Retry

FETCH_WAIT = 1.0
FRAMES_AT_ONCE = 200
"""Few, so that the delivery of a backlog to many readers leaves time for others between."""
RESPONSES_AT_ONCE = 500
CLEAN_SECONDS = 1.0
RETRY = Backoff(first=0.2, cap=5.0)

log = structlog.stdlib.get_logger("tokenstream.gateway")


class LogSource(Protocol):
    """One topic. See `processor.kafka.log_follower.LogFollower`."""

    @property
    def partitions(self) -> int: ...
    @property
    def troubles(self) -> Mapping[int, str]: ...
    async def start(self, positions: Mapping[int, int], *, since_ms: int | None = None) -> Mapping[int, int]: ...
    async def ends(self) -> Mapping[int, int]: ...
    async def position(self, number: int) -> int: ...
    async def fetch(self, max_records: int, wait: float) -> Sequence[FollowedRecord]: ...
    async def stop(self) -> None: ...


class Feed:
    """`partition_for` is Kafka's partitioner: of a channel's name and a number of partitions."""

    def __init__(
        self,
        hub: Hub,
        frames: LogSource,
        responses: LogSource,
        *,
        partition_for: Callable[[str, int], int],
        clock: Clock,
        random: Random,
        cleaned: Callable[[], None],
        retried: Callable[[], None] = lambda: None,
    ) -> None:
        self._hub = hub
        self._frames = frames
        self._responses = responses
        self._partition_for = partition_for
        self._clock = clock
        self._random = random
        self._cleaned = cleaned
        self._retried = retried
        self._responses_at: dict[int, int] = {}
        self._troubles: dict[str, str] = {}
        self._responses_read = asyncio.Event()
        self._caught_up = False

    def caught_up(self) -> bool:
        """Whether both topics were read to the end that they had when reading began, as far as they can be read."""
        return self._caught_up

    def trouble(self) -> str | None:
        """Why nothing new reaches readers, as a sentence; None while it does."""
        if self._troubles:
            return next(iter(self._troubles.values()))
        return None if self._caught_up else "what was published is still being read"

    def damage(self) -> str | None:
        """Which partitions cannot be read further, as sentences; None while all can. Readers get what is in the others."""
        return " ".join((*self._frames.troubles.values(), *self._responses.troubles.values())) or None

    def partition_of(self, channel: str) -> int:
        return self._partition_for(channel, max(1, self._frames.partitions))

    async def run(self) -> None:
        """Runs until it is cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep("responses", self._follow_responses))
                tasks.create_task(self._keep("frames", self._follow_frames))
                tasks.create_task(self._keep_clean())
        finally:
            await self._frames.stop()
            await self._responses.stop()

    async def _keep(self, name: str, follow: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        retry = Retry(RETRY, self._random.random, self._retried)

        def works() -> None:
            retry.succeeded()
            self._troubles.pop(name, None)

        while True:
            try:
                await follow(works)
            except KafkaUnavailable as error:
                log.warning("gateway_kafka_unavailable", topic=name, cause=str(error), attempt=retry.attempt)
                self._troubles[name] = str(error)
            except Exception as error:  # noqa: BLE001 - nothing that is on a topic ends a process
                log.error("gateway_feed_failed", topic=name, error=type(error).__name__, where=where(error))  # noqa: TRY400
                self._troubles[name] = f"reading failed: {type(error).__name__}"
            await retry.pause()

    async def _follow_responses(self, works: Callable[[], None]) -> None:
        since = self._clock.wall_ms() - self._hub.retention_ms
        self._responses_at = dict(await self._responses.start(self._responses_at, since_ms=since))
        ends = await self._responses.ends()
        while True:
            records = await self._responses.fetch(RESPONSES_AT_ONCE, FETCH_WAIT)
            works()
            self._hub.take_responses(records, self._clock.wall_ms())
            self._responses_at |= {record.partition: record.offset + 1 for record in records}
            if not self._responses_read.is_set():
                ends = ends if records else await self._left(self._responses, ends)
                if await self._reached(self._responses, ends, self._responses_at):
                    self._responses_read.set()
            await asyncio.sleep(0)

    async def _follow_frames(self, works: Callable[[], None]) -> None:
        await self._responses_read.wait()
        buffer = self._hub.buffer
        expected = {partition: offset + 1 for partition, offset in buffer.ends.items()}
        begins = await self._frames.start(expected)
        for partition, offset in begins.items():
            if expected.get(partition) != offset:
                self._hub.skip_to(partition, offset)
        ends = await self._frames.ends()
        while True:
            records = await self._frames.fetch(FRAMES_AT_ONCE, FETCH_WAIT)
            works()
            self._hub.take_frames(records, self._clock.wall_ms())
            if not self._caught_up:
                ends = ends if records else await self._left(self._frames, ends)
                read = {partition: offset + 1 for partition, offset in buffer.ends.items()}
                self._caught_up = await self._reached(self._frames, ends, read)
            await asyncio.sleep(0)

    async def _left(self, source: LogSource, ends: Mapping[int, int]) -> Mapping[int, int]:
        """The same ends, or those of logs that have lost theirs since: nothing may come there for long."""
        now = await source.ends()
        return {partition: min(end, now.get(partition, end)) for partition, end in ends.items()}

    async def _reached(self, source: LogSource, ends: Mapping[int, int], read: Mapping[int, int]) -> bool:
        """Transactions leave markers at the end, which are no records: so positions are asked for, too.

        A partition that cannot be read further is as far as it gets: the others must not wait for it.
        """
        for partition, end in ends.items():
            if partition in source.troubles:
                continue
            if read.get(partition, 0) < end and await source.position(partition) < end:
                return False
        return True

    async def _keep_clean(self) -> None:
        while True:
            await asyncio.sleep(CLEAN_SECONDS)
            self._hub.clean(self._clock.wall_ms())
            self._cleaned()
