import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from devtools.emulator.server import LocalRealtime
from devtools.kafka import LocalKafka
from support.token_log import Read


@pytest.fixture
async def server() -> AsyncIterator[LocalRealtime]:
    async with LocalRealtime(admin=True) as started:
        yield started


@pytest.fixture
def read(kafka: LocalKafka) -> Read:
    """Everything the log of a topic holds, partition by partition."""

    async def read_all(topic: str) -> list[ConsumerRecord]:
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            async with asyncio.timeout(20):
                partitions = [TopicPartition(topic, number) for number in await _partitions(consumer, topic)]
                consumer.assign(partitions)
                ends: Mapping[TopicPartition, int] = await consumer.end_offsets(partitions)
                found: list[ConsumerRecord] = []
                while len(found) < sum(ends.values()):
                    for records in (await consumer.getmany(timeout_ms=200)).values():
                        found += records
                return found
        finally:
            await consumer.stop()

    return read_all


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client._wait_on_metadata(topic)
    found: set[int] = consumer.partitions_for_topic(topic)
    return found
