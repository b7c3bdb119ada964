"""The controls of a relay: cancels reach every partition once, and notices are written, or dropped, without waiting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from processor.clock import Clock
from processor.core.response import Cancel
from processor.core.write_queue import Unwanted
from processor.relay.controls import ATTEMPTS, LOOKBACK, RelayControls
from support.chance import Never
from support.recorders import RecordingControls
from support.virtual_time import in_virtual_time
from support.waiting import until
from topics.controls import ControlEvent, ControlRecord


@dataclass
class Partition:
    taken: list[tuple[str, Cancel]] = field(default_factory=list)

    def cancel(self, control: ControlRecord, cancel: Cancel) -> None:
        self.taken.append((control.response_id, cancel))


def controls(topic: RecordingControls | None = None) -> RelayControls:
    clock = Clock(lambda: 1_000.0, wall=lambda: 2_000.0)
    return RelayControls(clock, Never(), sink=topic)


@asynccontextmanager
async def running(made: RelayControls, *partitions: Partition) -> AsyncIterator[None]:
    task = asyncio.create_task(made.run(lambda: partitions))
    await asyncio.sleep(0)
    yield
    task.cancel()
    await asyncio.wait({task})


def cancel(response_id: str, ts: int = 1_999_500) -> ControlRecord:
    return ControlRecord(ControlEvent.CANCEL, response_id, "chat:1", ts)


@in_virtual_time
async def test_every_further_attempt_to_write_a_notice_is_counted() -> None:
    topic, counted = RecordingControls(), list[int]()
    topic.refusals = 2
    made = RelayControls(Clock(), Never(), sink=topic, retried=lambda: counted.append(1))
    async with running(made):
        made.notify((Unwanted("r-1", "chat:1", "abandoned"),))
        await until(lambda: topic.written)
    assert (len(counted), topic.attempts) == (2, 3)


@in_virtual_time
async def test_a_cancel_reaches_every_partition_once_with_its_times() -> None:
    made, first, second = controls(), Partition(), Partition()
    async with running(made, first, second):
        made.apply(cancel("r-1"), 0.0)
        made.apply(cancel("r-1"), 0.0)
        made.apply(cancel("r-2"), 30.0)
    assert first.taken == second.taken
    assert first.taken == [
        ("r-1", Cancel(999.5, 1_000.0, 1_000.0)),
        ("r-2", Cancel(970.0, 970.0, 1_000.0)),
    ]
    assert made.memory.find("r-1", "chat:1", 1_000.0)


@in_virtual_time
async def test_a_second_cancel_of_a_response_reaches_every_partition_too() -> None:
    """The first one may have come too long before the start."""
    made, partition = controls(), Partition()
    async with running(made, partition):
        made.apply(cancel("r-1", ts=1_900_000), 100.0)
        made.apply(cancel("r-1"), 0.0)
    assert [taken for _, taken in partition.taken] == [
        Cancel(900.0, 900.0, 1_000.0, repeated=False),
        Cancel(999.5, 1_000.0, 1_000.0, repeated=True),
    ]


@in_virtual_time
async def test_notices_and_old_cancels_reach_no_partition() -> None:
    made, partition = controls(), Partition()
    async with running(made, partition):
        made.apply(ControlRecord(ControlEvent.UNWANTED, "r-1", "chat:1"), 0.0)
        made.apply(cancel("r-2"), LOOKBACK + 1)
    assert partition.taken == []


@in_virtual_time
async def test_what_the_relay_ended_is_written_though_kafka_is_away_for_a_moment() -> None:
    topic = RecordingControls(refusals=2)
    made = controls(topic)
    async with running(made):
        made.notify([Unwanted("r-1", "chat:1", "abandoned"), Unwanted("r-2", "chat:2", "too_large")])
        await until(lambda: len(topic.written) == 2)
    assert topic.written[0] == ControlRecord(ControlEvent.UNWANTED, "r-1", "chat:1", 2_000_000, "abandoned")
    assert topic.closed


@in_virtual_time
async def test_a_notice_that_cannot_be_written_delays_no_other_for_long() -> None:
    topic = RecordingControls(refusals=ATTEMPTS)
    made = controls(topic)
    async with running(made):
        made.notify([Unwanted("r-1", "chat:1", "abandoned")])
        made.notify([Unwanted("r-2", "chat:1", "abandoned")])
        await until(lambda: topic.written)
    assert [record.response_id for record in topic.written] == ["r-2"]
