"""A producer leaves the block of a response that a control record cancels; the broker is real."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

from conftest import MakeKafka, MakeTopics
from devtools.kafka import LocalKafka
from devtools.raw_batches import CODECS, batch, sealed, send_raw
from devtools.topic_reader import read_topic
from support.waiting import eventually
from topics import TokenProducer
from topics.codec import TokenRecord, decode_record
from topics.controls import ControlEvent, ControlRecord, encode_control
from topics.controls_reader import ControlsReader
from topics.specs import TopicNames


async def send(kafka: LocalKafka, topic: str, *records: ControlRecord, timestamp_ms: int | None = None) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all") as producer:
        for record in records:
            key = record.response_id.encode()
            await producer.send_and_wait(topic, encode_control(record), key=key, timestamp_ms=timestamp_ms)


def cancel(response_id: str, channel: str = "chat:1") -> ControlRecord:
    return ControlRecord(ControlEvent.CANCEL, response_id, channel, reason="user")


@asynccontextmanager
async def producing(kafka: LocalKafka, names: TopicNames) -> AsyncIterator[TokenProducer]:
    """A producer that reads controls already."""
    async with TokenProducer(kafka.bootstrap, names.tokens, controls_topic=names.controls) as producer:
        await eventually(lambda: producer.controls_trouble is None, deadline=30)
        yield producer


async def events(kafka: LocalKafka, names: TopicNames, response_id: str) -> list[TokenRecord]:
    """What the log holds of a response."""
    found = [decode_record(record.value) async for record in read_topic(kafka.bootstrap, names.tokens)]
    return [each for each in found if isinstance(each, TokenRecord) and each.response_id == response_id]


async def test_a_cancel_leaves_the_block_and_writes_the_stop(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with producing(kafka, topic_names) as producer:
        async with producer.response("chat:1") as response:
            await response.token("Hel")
            sent = asyncio.create_task(send(kafka, topic_names.controls, cancel(response.response_id)))
            await asyncio.Event().wait()
        await sent
        assert response.cancelled
        async with producer.response("chat:1") as other:
            await other.token("goes on")
        assert not other.cancelled
    found = await events(kafka, topic_names, response.response_id)
    assert [(record.event, record.seq, record.reason) for record in found] == [
        ("start", 0, None),
        ("token", 1, None),
        ("stop", 2, "cancelled"),
    ]
    assert (await events(kafka, topic_names, other.response_id))[-1].reason == "stop"


async def test_a_cancel_that_came_before_the_start_ends_it_at_once(kafka: LocalKafka, topic_names: TopicNames) -> None:
    await send(kafka, topic_names.controls, cancel("r-early"))
    async with producing(kafka, topic_names) as producer:
        await eventually(lambda: len(producer._blocks.memory))
        async with producer.response("chat:1", response_id="r-early") as response:
            await response.token("never")
        assert response.cancelled
    found = await events(kafka, topic_names, "r-early")
    assert [(record.event, record.reason) for record in found] == [("start", None), ("stop", "cancelled")]


async def test_a_response_that_is_cancelled_again_before_its_start_ends_a_minute_after_that(
    kafka: LocalKafka, topic_names: TopicNames
) -> None:
    now = time.time_ns() // 1_000_000
    await send(kafka, topic_names.controls, cancel("r-twice"), timestamp_ms=now - 50_000)
    await send(kafka, topic_names.controls, cancel("r-twice"), timestamp_ms=now)
    async with producing(kafka, topic_names) as producer:
        await eventually(lambda: len(producer._blocks.memory.find("r-twice", "chat:1", time.monotonic())) == 2)
        await eventually(
            lambda: len(producer._blocks.memory.find("r-twice", "chat:1", time.monotonic())) == 1, deadline=30
        )
        async with producer.response("chat:1", response_id="r-twice") as response:
            await response.token("never")
        assert response.cancelled


async def test_cancels_of_every_partition_are_obeyed(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as raw, producing(kafka, topic_names) as producer:
        partitions = sorted(await raw.partitions_for(topic_names.controls))
        assert len(partitions) == 4
        for partition in partitions:
            async with producer.response("chat:1") as response:
                value = encode_control(cancel(response.response_id))
                await raw.send_and_wait(topic_names.controls, value, partition=partition)
                async with asyncio.timeout(30):
                    await asyncio.Event().wait()
            assert response.cancelled, f"by a record on partition {partition}"


async def test_old_cancels_those_of_other_channels_and_nonsense_are_ignored(
    kafka: LocalKafka, topic_names: TopicNames
) -> None:
    await send(kafka, topic_names.controls, cancel("r-1"), timestamp_ms=1_700_000_000_000)
    async with producing(kafka, topic_names) as producer:
        async with producer.response("chat:1", response_id="r-1") as response, producer.response("chat:1") as ended:
            async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as raw:
                for value in (None, b"", b"\xff", b"[]", b'{"event":"cancel","responseId":"r-1"}'):
                    await raw.send_and_wait(topic_names.controls, value, key=b"r-1")
            records = cancel("r-1", "chat:other"), cancel(ended.response_id)
            sent = asyncio.create_task(send(kafka, topic_names.controls, *records))
            await asyncio.Event().wait()
        await sent
        assert ended.cancelled
        assert not response.cancelled
    assert (await events(kafka, topic_names, "r-1"))[-1].reason == "stop"


async def test_a_record_that_can_not_be_read_stops_no_later_cancel(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    names = await make_topics(partitions=2)
    written = batch([(b"k", b"{}", [("zqzq", b"x")])], timestamp=int(time.time() * 1000))
    odd_header_name = sealed(written.replace(b"zqzq", b"\xff\xfezq"))
    async with producing(kafka, names) as producer:
        async with producer.response("chat:1", response_id="r-1") as response:
            for partition in (0, 1):
                await send_raw(kafka.bootstrap, names.controls, partition, odd_header_name, 1)
            await eventually(lambda: producer.controls_trouble is not None, deadline=30)
            await eventually(lambda: producer.controls_trouble is None, deadline=30)
            sent = asyncio.create_task(send(kafka, names.controls, cancel("r-1")))
            async with asyncio.timeout(30):
                await asyncio.Event().wait()
        await sent
        assert response.cancelled


async def test_a_batch_that_grows_beyond_its_bound_stops_no_later_cancel(
    kafka: LocalKafka, topic_names: TopicNames
) -> None:
    bomb = batch([(b"k", bytes(64 << 20), ())], codec=CODECS["zstd"], timestamp=int(time.time() * 1000))
    await send_raw(kafka.bootstrap, topic_names.controls, 0, bomb, 1)
    await send(kafka, topic_names.controls, cancel("r-1"))
    taken: list[str] = []
    left_out: list[int] = []
    reader = ControlsReader(
        lambda: {"bootstrap_servers": kafka.bootstrap},
        topic_names.controls,
        lambda record, _age: taken.append(record.response_id),
        left_out=lambda _partition, offset: left_out.append(offset),
    )
    reading = asyncio.create_task(reader.run())
    try:
        await eventually(lambda: taken == ["r-1"], deadline=30)
    finally:
        reading.cancel()
        await asyncio.wait({reading})
    assert set(left_out) == {0}  # it may be fetched once more before the reader has determined where it begins


async def test_unwanted_is_treated_as_a_cancel(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with producing(kafka, topic_names) as producer:
        async with producer.response("chat:1") as response:
            unwanted = ControlRecord(ControlEvent.UNWANTED, response.response_id, reason="abandoned")
            sent = asyncio.create_task(send(kafka, topic_names.controls, unwanted))
            await asyncio.Event().wait()
        await sent
        assert response.cancelled


async def test_a_producer_that_waits_for_room_is_cancelled_there(kafka: LocalKafka, topic_names: TopicNames) -> None:
    """Cancelled while it waits to hand a record over: that record is not written, and takes no number."""
    async with TokenProducer(
        kafka.bootstrap, topic_names.tokens, controls_topic=topic_names.controls, max_unacknowledged=1
    ) as producer:
        await eventually(lambda: producer.controls_trouble is None, deadline=30)
        async with producer.response("chat:1") as response:
            sent = asyncio.create_task(send(kafka, topic_names.controls, cancel(response.response_id)))
            while True:
                await response.token("word ")
        await sent
        assert response.cancelled
    found = await events(kafka, topic_names, response.response_id)
    assert [record.seq for record in found] == list(range(len(found)))
    assert (found[-1].event, found[-1].reason) == ("stop", "cancelled")


async def test_a_producer_without_controls_ignores_them(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with TokenProducer(kafka.bootstrap, topic_names.tokens, controls_topic=None) as producer:
        assert producer.controls_trouble is None
        async with producer.response("chat:1") as response:
            await send(kafka, topic_names.controls, cancel(response.response_id))
            await response.token("on and on")
    assert not response.cancelled


async def test_a_cancel_that_was_missed_for_minutes_counts_only_from_a_minute_before_the_start(
    kafka: LocalKafka, topic_names: TopicNames
) -> None:
    async with TokenProducer(kafka.bootstrap, topic_names.tokens, controls_topic=None) as producer:
        async with producer.response("chat:1") as response:
            producer._blocks.obey(cancel(response.response_id), 61.0)
            await asyncio.sleep(0)
            assert not response.cancelled
            response._block.began_at -= 120
            producer._blocks.obey(cancel(response.response_id), 100.0)
            await asyncio.Event().wait()
        assert response.cancelled


async def test_without_the_controls_topic_production_goes_on(kafka: LocalKafka, topic_names: TopicNames) -> None:
    missing = f"{topic_names.controls}.missing"
    async with TokenProducer(kafka.bootstrap, topic_names.tokens, controls_topic=missing) as producer:
        await eventually(lambda: "does not exist" in (producer.controls_trouble or ""), deadline=30)
        async with producer.response("chat:1") as response:
            await response.token("word")
    assert [record.event for record in await events(kafka, topic_names, response.response_id)] == [
        "start",
        "token",
        "stop",
    ]


async def test_a_broker_that_comes_back_brings_cancels_again(make_topics: MakeTopics, bare_kafka: MakeKafka) -> None:
    broker = await bare_kafka()
    names = await make_topics(bootstrap=broker.bootstrap, partitions=1)
    async with producing(broker, names) as producer:
        async with producer.response("chat:1") as response:
            await response.token("one")
            broker.kill()
            await response.token("two")
            await broker.start()
            sent = asyncio.create_task(send(broker, names.controls, cancel(response.response_id)))
            async with asyncio.timeout(90):
                await asyncio.Event().wait()
        await sent
        assert response.cancelled
    found = await events(broker, names, response.response_id)
    assert [record.event for record in found] == ["start", "token", "token", "stop"]
