"""What the group assigns to a member that is leaving is not taken: its workers would outlive it."""

import asyncio
from random import Random
from types import SimpleNamespace
from typing import Any, cast

from processor.clock import Clock
from processor.core.limits import Limits
from processor.relay.controls import RelayControls
from processor.relay.parts import WorkerParts
from processor.relay.relay import Relay, RelayOptions
from processor.relay.worker import PartitionWorker
from processor.telemetry.metrics import Metrics
from support.measures import NoMeasures
from support.virtual_time import in_virtual_time


class LateGroup:
    """A consumer whose group assigns a partition while it is being stopped."""

    topic = "tokens"
    patience = 10.0
    relay: Relay
    stopped = False

    async def stop(self) -> None:
        await self.relay.on_partitions_assigned([0])
        self.stopped = True

    def pause(self, *_numbers: int) -> None:
        pass


class Closable:
    async def close(self) -> None:
        pass


def relay_of(consumer: LateGroup, tasks: asyncio.TaskGroup) -> Relay:
    parts: Any = SimpleNamespace(
        random=Random(0),
        consumer=consumer,
        metrics=Metrics(),
        clock=Clock(),
        committed=Closable(),
        responses=Closable(),
        measures=NoMeasures(),
        controls=RelayControls(Clock(), Random(1)),
    )
    options = RelayOptions(
        credentials=lambda: None,
        check_credentials=lambda: None,
        limits=Limits(),
        drain_timeout=1.0,
    )
    return Relay(options, cast("WorkerParts", parts), tasks)


class Draining:
    """A worker that takes its time to give its partition back."""

    number = 0

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.drained = self.closed = False

    async def drain(self, within: float) -> bool:
        del within
        await self.may_end.wait()
        self.drained = True
        return True

    async def close(self) -> None:
        self.closed = True


@in_virtual_time
async def test_a_stop_waits_for_a_rebalance_that_still_drains() -> None:
    consumer, worker = LateGroup(), Draining()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        relay = consumer.relay = relay_of(consumer, tasks)
        relay._workers[0] = cast("PartitionWorker", worker)
        revoked = tasks.create_task(relay.on_partitions_revoked([0]))
        await asyncio.sleep(0)
        stopping = tasks.create_task(relay.stop())
        await asyncio.sleep(0.5)
        assert not consumer.stopped, "the client, and its place in the group, are needed for the last commit"
        worker.may_end.set()
        await asyncio.wait([revoked, stopping])
    assert (worker.drained, worker.closed, consumer.stopped) == (True, True, True)


@in_virtual_time
async def test_an_assignment_that_comes_while_leaving_is_not_taken() -> None:
    consumer = LateGroup()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        consumer.relay = relay_of(consumer, tasks)
        await consumer.relay.stop()
    assert consumer.stopped
    assert list(consumer.relay.workers) == []
