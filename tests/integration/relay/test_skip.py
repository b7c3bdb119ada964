"""`tokenstream skip` gives up a batch only where it has seen that the batch can't be read."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from processor.errors import KafkaUnavailable
from processor.kafka.connection import KafkaConnection
from processor.kafka.skip import NothingToSkip, skip

MakeKafka = Callable[..., Awaitable[LocalKafka]]

pytestmark = pytest.mark.timeout(240)


async def test_an_offset_at_which_nothing_is_held_is_named(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    topic = (await make_topics(partitions=1)).tokens
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        await producer.send_and_wait(topic, b"{}", partition=0)
    for offset in (1, 9):
        with pytest.raises(NothingToSkip, match=f"{topic}-0 holds nothing at offset {offset}"):
            await skip(KafkaConnection(kafka.bootstrap), topic, 0, offset, group_id=None, within=60)
    with pytest.raises(NothingToSkip, match=f"{topic}-0 can be read at offset 0: nothing was deleted"):
        await skip(KafkaConnection(kafka.bootstrap), topic, 0, 0, group_id=None, within=60)


@asynccontextmanager
async def committing(kafka: LocalKafka, topic: str) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Yields what commits an offset of partition 0 for the group that is called as its topic."""
    place = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, group_id=topic, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([place])

        async def commit(offset: int) -> None:
            await consumer.commit({place: offset})

        yield commit
    finally:
        await consumer.stop()


async def test_records_that_the_group_has_not_committed_are_kept(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    topic = (await make_topics(partitions=1)).tokens
    connection = KafkaConnection(kafka.bootstrap)
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        for _ in range(3):
            await producer.send_and_wait(topic, b"{}", partition=0)
    async with committing(kafka, topic) as commit:
        await commit(1)
        other = f"{topic}-other"
        with pytest.raises(NothingToSkip, match=f"Group {other} has no committed offset for {topic}-0"):
            await skip(connection, topic, 0, 2, group_id=other, within=60)
        with pytest.raises(NothingToSkip, match="is committed up to offset 1: records before offset 2 would be lost"):
            await skip(connection, topic, 0, 2, group_id=topic, within=60)
        await commit(2)
        with pytest.raises(NothingToSkip, match="can be read at offset 2: nothing was deleted"):
            await skip(connection, topic, 0, 2, group_id=topic, within=60)


async def test_markers_of_transactions_need_not_be_committed(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    topic = (await make_topics(partitions=1)).tokens
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=topic) as producer:
        for _ in range(2):
            async with producer.transaction():
                await producer.send_and_wait(topic, b"{}", partition=0)
    async with committing(kafka, topic) as commit:
        await commit(1)
        with pytest.raises(NothingToSkip, match="can be read at offset 2: nothing was deleted"):
            await skip(KafkaConnection(kafka.bootstrap), topic, 0, 2, group_id=topic, within=60)


async def test_a_broker_that_does_not_answer_proves_nothing(bare_kafka: MakeKafka, make_topics: MakeTopics) -> None:
    kafka = await bare_kafka()
    topic = (await make_topics(partitions=1, bootstrap=kafka.bootstrap)).tokens
    kafka.pause()
    try:
        with pytest.raises(KafkaUnavailable, match="Nothing was deleted"):
            await skip(KafkaConnection(kafka.bootstrap), topic, 0, 0, group_id=None, within=1)
    finally:
        kafka.resume()
