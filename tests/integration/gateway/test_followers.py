"""The followers and the writer of frames, on a real Kafka."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from processor.errors import KafkaUnavailable
from processor.kafka.connection import KafkaConnection
from processor.kafka.frames_writer import FramesWriter
from processor.kafka.log_follower import AT_ONCE, LogFollower, LogTail, partition_for
from processor.ports.followed import FollowedRecord
from support.waiting import eventually

CHANNELS = ("chat:1", "chat:2", "Grüße 👋", "a", "b", "c")
PARTITIONS = 3


@pytest.fixture
async def topic(make_topics: MakeTopics) -> str:
    """Any topic with three partitions and no compaction will do."""
    return (await make_topics(partitions=PARTITIONS)).tokens


async def write(kafka: LocalKafka, topic: str, count: int, written_ms: int = 1_000) -> None:
    writer = FramesWriter(lambda: KafkaConnection(kafka.bootstrap), topic)
    await writer.start()
    try:
        for number in range(count):
            for channel in CHANNELS:
                await writer.write(channel, f"{channel} {number}".encode(), written_ms + number)
    finally:
        await writer.stop()


async def test_records_are_followed_in_the_order_and_the_partition_of_their_channel(
    kafka: LocalKafka, topic: str
) -> None:
    follower = LogFollower(lambda: KafkaConnection(kafka.bootstrap), topic)
    begins = await follower.start({})
    assert begins == dict.fromkeys(range(PARTITIONS), 0)
    await write(kafka, topic, 5)
    found: dict[str, list[tuple[int, str]]] = {}

    async def look() -> bool:
        for record in await follower.fetch(100, 0.2):
            assert record.value is not None
            found.setdefault(record.key.decode(), []).append((record.partition, record.value.decode()))
        return sum(len(records) for records in found.values()) == 5 * len(CHANNELS)

    await eventually(look, deadline=30)
    for channel in CHANNELS:
        assert [value for _, value in found[channel]] == [f"{channel} {number}" for number in range(5)]
        assert {partition for partition, _ in found[channel]} == {partition_for(channel, PARTITIONS)}
    await follower.stop()


async def test_following_begins_at_a_position_or_a_time(kafka: LocalKafka, topic: str) -> None:
    await write(kafka, topic, 5)
    follower = LogFollower(lambda: KafkaConnection(kafka.bootstrap), topic)
    number = partition_for("a", PARTITIONS)
    begins = await follower.start({number: 2}, since_ms=1_004)
    assert begins[number] == 2
    ends = await follower.ends()
    others = [partition for partition in range(PARTITIONS) if partition != number]
    for partition in others:
        # The records of the last round were written at 1,004.
        mine = sum(partition_for(channel, PARTITIONS) == partition for channel in CHANNELS)
        assert begins[partition] == ends[partition] - mine
    assert (await follower.start({number: 10**6}))[number] == 0
    await follower.stop()
    with pytest.raises(KafkaUnavailable):
        await follower.ends()


async def test_a_topic_that_is_not_there_is_said(kafka: LocalKafka, topics_prefix: str) -> None:
    follower = LogFollower(lambda: KafkaConnection(kafka.bootstrap), f"{topics_prefix}.none")
    with pytest.raises(KafkaUnavailable, match="topics apply"):
        await follower.start({})


async def test_a_stretch_of_a_partition_is_read_as_it_is_asked_for(kafka: LocalKafka, topic: str) -> None:
    await write(kafka, topic, 5)
    tail = LogTail(lambda: KafkaConnection(kafka.bootstrap), topic)
    assert await tail.partitions() == PARTITIONS
    number = partition_for("a", PARTITIONS)
    first, end = await tail.bounds(number)
    assert first == 0
    whole: list[FollowedRecord] = []
    await tail.read(number, first, end, whole.extend)
    assert [record.offset for record in whole] == list(range(end))
    some: list[FollowedRecord] = []
    await tail.read(number, 1, 3, some.extend)
    assert [record.offset for record in some] == [1, 2]
    await tail.stop()


async def test_a_long_stretch_is_given_in_small_pieces(kafka: LocalKafka, topic: str) -> None:
    await write(kafka, topic, 3 * AT_ONCE)
    tail = LogTail(lambda: KafkaConnection(kafka.bootstrap), topic)
    number = partition_for("a", PARTITIONS)
    first, end = await tail.bounds(number)
    pieces: list[int] = []
    await tail.read(number, first, end, lambda records: pieces.append(len(records)))
    assert sum(pieces) == end >= 3 * AT_ONCE
    assert max(pieces) <= AT_ONCE
    await tail.stop()


async def test_the_default_partitioner_of_kafka_is_used(kafka: LocalKafka, topic: str) -> None:
    async with asyncio.timeout(30):
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
        await producer.start()
        try:
            for channel in CHANNELS:
                sent = await producer.send_and_wait(topic, b"x", key=channel.encode())
                assert sent.partition == partition_for(channel, PARTITIONS)
        finally:
            await producer.stop()
