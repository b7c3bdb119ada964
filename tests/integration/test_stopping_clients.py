"""Clients that are stopped while no broker answers: aiokafka raises CancelledError there, which would end its caller."""

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from conftest import MakeKafka, MakeTopics
from processor.kafka.stopping import stop_quietly
from support.archives import idle_stream
from support.waiting import eventually
from topics.controls_reader import ControlsReader


async def test_a_reader_of_controls_outlives_an_outage(bare_kafka: MakeKafka, make_topics: MakeTopics) -> None:
    broker = await bare_kafka()
    names = await make_topics(bootstrap=broker.bootstrap)
    reader = ControlsReader(
        lambda: {"bootstrap_servers": broker.bootstrap}, names.controls, lambda _control, _age: None
    )
    async with reader._consumer() as consumer:
        await reader._begin(consumer)
        await consumer.getmany(timeout_ms=1000)
        broker.kill()
        await consumer.getmany(timeout_ms=2000)
    assert not consumer._client._conns


async def test_a_consumer_stops_while_no_broker_answers(bare_kafka: MakeKafka, make_topics: MakeTopics) -> None:
    broker = await bare_kafka()
    names = await make_topics(bootstrap=broker.bootstrap)
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap)
    await consumer.start()
    consumer.assign([TopicPartition(names.tokens, 0)])
    await consumer.getmany(timeout_ms=1000)
    broker.kill()
    await consumer.getmany(timeout_ms=2000)
    await stop_quietly(consumer)
    assert not consumer._client._conns


async def test_an_archive_stream_stops_at_once_while_no_broker_answers(
    bare_kafka: MakeKafka, make_topics: MakeTopics
) -> None:
    broker = await bare_kafka()
    names = await make_topics(bootstrap=broker.bootstrap)
    stream = idle_stream(broker, names)
    await stream.start()
    await eventually(lambda: bool(stream.assigned), deadline=30)
    broker.kill()
    consumer: Any = stream._consumer
    kafka = consumer._thread._consumer
    await eventually(lambda: not kafka._client._conns, deadline=30)
    async with asyncio.timeout(10):
        await stream.stop()
