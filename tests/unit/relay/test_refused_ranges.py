"""What is refused in the place of several records is passed over as a whole, and so refused once."""

import asyncio
from collections.abc import Mapping, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from processor.clock import Clock
from processor.core.items import Raw, Refused, end_of
from processor.core.limits import Limits
from processor.errors import KafkaUnavailable
from processor.relay.controls import RelayControls
from processor.relay.parts import WorkerParts
from processor.relay.relay import Relay, RelayOptions
from processor.relay.worker import PartitionWorker
from processor.telemetry.metrics import Metrics
from support.measures import NoMeasures
from support.world import LogRecord
from topics.records import Reason

RANGE = Refused(LogRecord(5, b""), Reason.TOO_LARGE, "the batch of offsets 5 to 8", 8)


class FailingConsumer:
    """Its second fetch fails."""

    topic = "tokens"
    patience = 10.0
    assigned = frozenset({0})
    membership = SimpleNamespace(ended=False, silence=lambda: 0.0)

    def __init__(self) -> None:
        self.sought: list[tuple[int, int]] = []
        self.fetches = 0

    async def start(self, _listener: Any) -> None: ...
    def pause(self, *_numbers: int) -> None: ...
    def resume(self, *_numbers: int) -> None: ...

    def reached(self, _number: int) -> None:
        return None

    def seek(self, number: int, offset: int) -> None:
        self.sought.append((number, offset))

    async def fetch(self, _max_records: int, _wait: float) -> Mapping[int, Sequence[Raw]]:
        self.fetches += 1
        if self.fetches > 1:
            raise KafkaUnavailable("another partition's answer is cut off")
        return {0: [LogRecord(4, b""), RANGE]}


class Reading:
    running, paused, position, stuck = True, False, 0, None
    pipeline = SimpleNamespace(live_responses=0, allow_open=lambda _: None)

    def consume(self, _records: Sequence[Raw], position: int) -> None:
        self.position = position


def test_the_offset_after_a_range_is_after_its_last() -> None:
    assert end_of([LogRecord(4, b"")]) == 5
    assert end_of([Refused(LogRecord(4, b""), Reason.POISON, "")]) == 5
    assert end_of([LogRecord(4, b""), RANGE]) == 9


async def test_after_a_failed_fetch_reading_goes_on_behind_a_range() -> None:
    consumer = FailingConsumer()
    parts: Any = SimpleNamespace(
        random=Random(0),
        consumer=consumer,
        metrics=Metrics(),
        clock=Clock(),
        measures=NoMeasures(),
        controls=RelayControls(Clock(), Random(1)),
    )
    options = RelayOptions(
        credentials=lambda: None,
        check_credentials=lambda: None,
        limits=Limits(),
        drain_timeout=1.0,
    )
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        relay = Relay(options, cast("WorkerParts", parts), tasks)
        relay._workers[0] = cast("PartitionWorker", Reading())
        running = tasks.create_task(relay.run())
        while not consumer.sought:
            await asyncio.sleep(0)
        running.cancel()
    assert consumer.sought == [(0, 9)]
