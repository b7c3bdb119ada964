"""A partition without a leader keeps nobody else's end offset waiting, and costs no client."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaTimeoutError

from processor.errors import KafkaUnavailable
from processor.kafka.connection import KafkaConnection
from processor.kafka.lazy import LazyClient
from processor.kafka.readers import LOST_CLIENT, LogEnds

HEALTHY, LEADERLESS = TopicPartition("tokens", 0), TopicPartition("tokens", 1)


class HalfAway:
    """Knows the end of one partition; for the other's it fails, once configured to."""

    def __init__(self) -> None:
        self.fail = asyncio.Event()
        self.stopped = False

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        if LEADERLESS in partitions:
            await self.fail.wait()
            raise KafkaTimeoutError
        return dict.fromkeys(partitions, 7)

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.stopped = True


async def test_a_healthy_partition_is_answered_while_another_waits() -> None:
    half = HalfAway()
    ends = LogEnds(lambda: KafkaConnection("nowhere"), LazyClient(lambda: half))
    waiting = asyncio.create_task(ends.read(LEADERLESS))
    await asyncio.sleep(0)
    assert await ends.read(HEALTHY) == 7
    half.fail.set()
    with pytest.raises(KafkaUnavailable):
        await waiting


async def test_the_client_is_kept_as_long_as_anyone_is_answered_and_given_up_after_that() -> None:
    half = HalfAway()
    ends = LogEnds(lambda: KafkaConnection("nowhere"), LazyClient(lambda: half))
    half.fail.set()
    for _ in range(3 * LOST_CLIENT):
        with pytest.raises(KafkaUnavailable):
            await ends.read(LEADERLESS)
        await ends.read(HEALTHY)
    assert not half.stopped
    for _ in range(LOST_CLIENT):
        with pytest.raises(KafkaUnavailable):
            await ends.read(LEADERLESS)
    assert half.stopped
