"""A group that is silent because Kafka is unreachable is waited for; only one that is silent while Kafka answers is
joined again.
"""

import asyncio
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from processor.core.limits import Limits
from processor.errors import KafkaUnavailable
from processor.relay.controls import RelayControls
from processor.relay.parts import WorkerParts
from processor.relay.relay import Relay, RelayOptions
from processor.telemetry.metrics import Metrics
from support.measures import NoMeasures
from support.virtual_time import in_virtual_time
from support.waiting import until

PATIENCE = 60.0


class Hands:
    """A clock set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class SilentGroup:
    topic = "tokens"
    patience = PATIENCE
    assigned: frozenset[int] = frozenset()

    def __init__(self, clock: Hands, *, kafka_is_up: bool) -> None:
        self._clock = clock
        self._joined = clock.now
        self.kafka_is_up = kafka_is_up
        self.starts = 0
        self.asked = 0
        self.ended = False
        self.membership = self

    def silence(self) -> float:
        return self._clock.now - self._joined

    async def start(self, _listener: object) -> None:
        self.starts += 1
        self.ended = self.ended and self.starts == 1
        self._joined = self._clock.now

    async def reachable(self) -> bool:
        self.asked += 1
        return self.kafka_is_up

    async def renew(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def fetch(self, _records: int, _wait: float) -> dict[int, Any]:
        """Each turn of the loop takes a second of the clock."""
        self._clock.now += 1.0
        await asyncio.sleep(0)
        if self.ended:
            raise KafkaUnavailable("unexpected error during coordination")
        return {}

    def pause(self, *_numbers: int) -> None:
        pass


class Closable:
    async def close(self) -> None:
        pass


async def turn_until(kafka_is_up: bool, seconds: float, *, ended: bool = False) -> SilentGroup:
    """Runs the relay for this many seconds of a group's silence."""
    clock = Hands()
    group = SilentGroup(clock, kafka_is_up=kafka_is_up)
    group.ended = ended
    parts: Any = SimpleNamespace(
        random=Random(0),
        consumer=group,
        metrics=Metrics(),
        clock=clock,
        committed=Closable(),
        responses=Closable(),
        measures=NoMeasures(),
        controls=RelayControls(cast("Any", clock), Random(1)),
    )
    options = RelayOptions(
        credentials=lambda: None,
        check_credentials=lambda: None,
        limits=Limits(),
        drain_timeout=1.0,
    )
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        relay = Relay(options, cast("WorkerParts", parts), tasks)
        began = clock.now
        running = tasks.create_task(relay.run())
        await until(lambda: clock.now > began + seconds, within=15)
        await relay.stop()
        await running
    return group


@in_virtual_time
async def test_while_kafka_is_away_the_member_stays_as_it_is() -> None:
    group = await turn_until(kafka_is_up=False, seconds=5 * PATIENCE)
    assert group.asked > 10
    assert group.starts == 1


@in_virtual_time
async def test_while_kafka_answers_others_the_group_is_joined_with_a_new_client() -> None:
    group = await turn_until(kafka_is_up=True, seconds=2 * PATIENCE + 10)
    assert group.starts == 2


@in_virtual_time
async def test_a_client_whose_part_in_the_group_died_is_replaced_as_soon_as_kafka_answers() -> None:
    group = await turn_until(kafka_is_up=True, seconds=5, ended=True)
    assert group.starts == 2


@in_virtual_time
async def test_and_not_before_that() -> None:
    group = await turn_until(kafka_is_up=False, seconds=5, ended=True)
    assert (group.starts, group.asked > 0) == (1, True)
