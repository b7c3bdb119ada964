"""The broker that every other integration test stands on."""

from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from processor.local.kafka import LocalKafka
from topics.specs import TopicNames


async def write(bootstrap: str, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(topic, value, partition=0)
    finally:
        await producer.stop()


async def read(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_a_record_written_is_read_again(kafka: LocalKafka, topic_names: TopicNames) -> None:
    await write(kafka.bootstrap, topic_names.tokens, b"one")
    assert await read(kafka.bootstrap, topic_names.tokens, 1) == [b"one"]


async def test_what_was_written_survives_a_kill_on_the_same_port(
    bare_kafka: Callable[..., Awaitable[LocalKafka]], make_topics: Callable[..., Awaitable[TopicNames]]
) -> None:
    broker = await bare_kafka()
    names = await make_topics(bootstrap=broker.bootstrap)
    await write(broker.bootstrap, names.tokens, b"before")
    broker.kill()
    await broker.start()
    await write(broker.bootstrap, names.tokens, b"after")
    assert await read(broker.bootstrap, names.tokens, 2) == [b"before", b"after"]
