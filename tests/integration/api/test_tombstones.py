"""A deletion's tombstone on a real broker."""

from collections.abc import Awaitable, Callable

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from conftest import MakeTopics
from devtools.free_ports import free_port
from devtools.kafka import LocalKafka
from processor.errors import KafkaUnavailable, TombstoneUndetermined
from processor.kafka.connection import KafkaConnection
from processor.kafka.tombstones import KafkaTombstones

MakeKafka = Callable[..., Awaitable[LocalKafka]]


def tombstones(bootstrap: str, topic: str = "t.responses") -> KafkaTombstones:
    return KafkaTombstones(lambda: KafkaConnection(bootstrap), responses_topic=topic)


async def written(bootstrap: str, topic: str, partitions: int) -> list[tuple[int, bytes, bytes | None]]:
    """(partition, key, value)"""
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        assigned = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(assigned)
        ends = await consumer.end_offsets(assigned)
        found = []
        while any([await consumer.position(partition) < ends[partition] for partition in assigned]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [(record.partition, record.key, record.value) for record in records]
        return found


async def test_it_goes_to_the_partition_of_the_records_or_by_its_key(
    kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    """By its key where the topic was created again, with fewer partitions than the store remembers."""
    topic = (await make_topics(partitions=2)).responses
    deletions = tombstones(kafka.bootstrap, topic)
    for number in (0, 1, 7):
        await deletions.write(f"r-{number}", number)
    await deletions.close()
    found = await written(kafka.bootstrap, topic, 2)
    assert {(0, b"r-0", None), (1, b"r-1", None)} <= set(found)
    assert [(key, value) for _, key, value in found if key == b"r-7"] == [(b"r-7", None)]


async def test_one_that_is_not_acknowledged_is_undetermined(bare_kafka: MakeKafka, make_topics: MakeTopics) -> None:
    kafka = await bare_kafka()
    topic = (await make_topics(partitions=1, bootstrap=kafka.bootstrap)).responses
    deletions = tombstones(kafka.bootstrap, topic)
    await deletions.connect()
    await deletions.write("r-1", 0)
    kafka.pause()
    try:
        with pytest.raises(TombstoneUndetermined, match="it may be written"):
            await deletions.write("r-2", 0)
    finally:
        kafka.resume()
    await deletions.write("r-2", 0)
    await deletions.close()


async def test_one_that_was_never_sent_is_not() -> None:
    with pytest.raises(KafkaUnavailable) as raised:
        await tombstones(f"127.0.0.1:{free_port()}").write("r-1", 0)
    assert not isinstance(raised.value, TombstoneUndetermined)
