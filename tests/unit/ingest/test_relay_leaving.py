"""What the group assigns to a member that is leaving is not taken: its workers would outlive it."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from aiokafka import TopicPartition

from processor.clock import Clock
from processor.core.limits import Limits
from processor.ingest.relay import Relay, RelayOptions
from processor.ingest.worker import WorkerParts
from processor.metrics import Metrics


class LateGroup:
    """A consumer whose group assigns a partition while it is being stopped."""

    topic = "tokens"
    relay: Relay
    stopped = False

    async def stop(self) -> None:
        await self.relay.on_partitions_assigned([TopicPartition("tokens", 0)])
        self.stopped = True

    def pause(self, *_numbers: int) -> None:
        pass


class Closable:
    async def close(self) -> None:
        pass


async def test_an_assignment_that_comes_while_leaving_is_not_taken() -> None:
    consumer = LateGroup()
    parts: Any = SimpleNamespace(
        consumer=consumer, metrics=Metrics(), clock=Clock(), committed=Closable(), responses=Closable()
    )
    options = RelayOptions(
        client=dict,
        credentials=lambda: None,
        group_id="g",
        limits=Limits(),
        drain_timeout=1.0,
        max_record_bytes=1_000_000,
    )
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        consumer.relay = Relay(options, cast("WorkerParts", parts), tasks)
        await consumer.relay.stop()
    assert consumer.stopped
    assert list(consumer.relay.workers) == []
