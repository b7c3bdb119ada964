"""Who owns a partition, and what a successor finds: against the real broker."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from conftest import MakeTopics
from devtools.deployment import create_topics
from devtools.group_proxy import GroupProxy, kafka_behind
from devtools.kafka import LocalKafka
from devtools.lab import Lab, laboratory
from processor.errors import PartitionLost
from processor.kafka import TransactionalWriter
from processor.kafka.connection import KafkaConnection
from processor.ports.log import Record
from processor.relay.commit_metadata import CommitMetadata
from support.waiting import comes_to, eventually
from topics.specs import TopicNames

pytestmark = pytest.mark.timeout(300)

MakeKafka = Callable[..., Awaitable[LocalKafka]]


@pytest.fixture
async def proxied_kafka() -> AsyncIterator[tuple[LocalKafka, GroupProxy]]:
    async with GroupProxy() as proxy, kafka_behind(proxy) as kafka:
        yield kafka, proxy


@pytest.mark.long  # a row of the fault lab shows the same
async def test_an_owner_cut_off_from_the_coordinator_alone_stops_publishing(
    proxied_kafka: tuple[LocalKafka, GroupProxy],
) -> None:
    kafka, proxy = proxied_kafka
    names = TopicNames()
    await create_topics(kafka.bootstrap, names, partitions=2)
    async with laboratory(kafka.bootstrap, names) as lab:
        cut_off = await lab.relay(KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{proxy.port}")
        async with lab.streaming(responses=12, channels=6, pause=0.05):
            await lab.progress(60)
            await lab.relay()
            await lab.progress(60)
            proxy.cut = True
            await eventually(lambda: proxy.swallowed, deadline=60)
            await lab.progress(200, deadline=100)
            proxy.cut = False
            await lab.progress(60)
        await lab.all_finished()
        verdict = lab.verdict()
        assert not verdict.wrong, verdict
        assert cut_off.returncode is None


def writer_of(kafka: LocalKafka, names: TopicNames) -> TransactionalWriter:
    return TransactionalWriter(
        lambda: KafkaConnection(kafka.bootstrap),
        transactional_id=names.tokens,
        group_id=names.tokens,
        topic=names.tokens,
        partition=0,
        max_bytes=1 << 20,
    )


async def test_a_writer_stopped_while_the_broker_is_silent_leaves_no_task(
    bare_kafka: MakeKafka, make_topics: MakeTopics
) -> None:
    kafka = await bare_kafka()
    names = await make_topics(partitions=1, bootstrap=kafka.bootstrap)
    before = asyncio.all_tasks()
    writer = writer_of(kafka, names)
    await writer.start()
    kafka.pause()
    try:
        writing = asyncio.create_task(writer.write([Record(names.responses, 0, b"r", b"{}", ())], lambda _: (0, "")))
        await eventually(lambda: sending(asyncio.all_tasks() - before))
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert not writer.started
        await eventually(lambda: not asyncio.all_tasks() - before)
    finally:
        kafka.resume()


def sending(tasks: set[asyncio.Task[Any]]) -> bool:
    """Whether a request of a transaction waits for its answer."""
    return any("do_add_partitions_to_txn" in repr(task) or "_send_produce_req" in repr(task) for task in tasks)


async def test_a_second_owner_fences_the_first(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    names = await make_topics(partitions=1)
    first, second = writer_of(kafka, names), writer_of(kafka, names)
    await first.start()
    record = Record(names.responses, 0, b"r", b"{}", ())
    assert await first.write([record], lambda offsets: (offsets[0], "")) == (0, "")
    await second.start()
    with pytest.raises(PartitionLost):
        await first.write([record], lambda _: (5, "stale"))
    await second.write([], lambda _: (1, "new"))
    assert await committed(kafka, names) == {0: (1, "new")}
    await second.stop()


async def committed(kafka: LocalKafka, names: TopicNames) -> dict[int, tuple[int, str]]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(names.tokens)
        return {partition.partition: (found.offset, found.metadata) for partition, found in offsets.items()}
    finally:
        await admin.close()


async def test_only_the_last_commit_of_a_clean_end_says_clean(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    names = await make_topics(partitions=2)
    async with laboratory(kafka.bootstrap, names) as lab:
        relay = await lab.relay()
        running = await eventually(lambda: committed(kafka, names), deadline=60)
        assert {CommitMetadata.decode(metadata).clean for _, metadata in running.values()} == {False}
        await lab.stream(responses=4, tokens=10, channels=4)
        await lab.all_finished()
        assert await relay.stop() == 0
        ended = await committed(kafka, names)
        assert {CommitMetadata.decode(metadata).clean for _, metadata in ended.values()} == {True}
        records = sum(offset for offset, _ in ended.values())
        assert records == 4 * 12, "every consumed record is inside a committed one"


@pytest.mark.long  # the rows rolling-restart and drain
async def test_a_clean_handover_of_1000_open_responses_loses_and_repeats_nothing(
    kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    names = await make_topics(partitions=1)
    async with laboratory(kafka.bootstrap, names) as lab:
        unpaced: dict[str, Any] = {"ABLY_CHANNEL_RATE": "0", "ABLY_CONNECTION_RATE": "0", "ABLY_MAX_CONNECTIONS": "2"}
        first = await lab.relay(**unpaced)
        async with lab.streaming(responses=1000, channels=100, pause=8.0):
            await eventually(lambda: opened(lab) == 1000, deadline=60)
            second = await lab.relay(ready=False, **unpaced)
            await eventually(second.has_started, deadline=60)
            assert await first.stop() == 0, first.tail()
            handed = await eventually(lambda: taken_over(second.log.read_text()), deadline=60)
            assert handed is not None
            print(f"taken over with {handed['open_responses']} open responses in {handed['seconds']} s of assignment")
            assert handed["open_responses"] == 1000
            await lab.progress(500)
        await lab.all_finished(deadline=90)
        verdict = lab.verdict()
        assert not verdict.wrong, verdict
        assert verdict.repeated_as_published == 0, verdict


def opened(lab: Lab) -> int:
    return sum(message.name == "start" for messages in lab.realtime.log.values() for message in messages)


def taken_over(log: str) -> dict[str, Any] | None:
    events = [json.loads(line) for line in log.splitlines() if '"partition_taken_over"' in line]
    return next((event for event in events if event["open_responses"]), None)


async def test_a_second_sigterm_stops_at_once_and_loses_nothing(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics(partitions=2)) as lab:
        relay = await lab.relay(DRAIN_TIMEOUT="100")
        async with lab.streaming(responses=8, channels=4, pause=0.05):
            await lab.progress(40)
            lab.realtime.faults.add({"delay_ack": {"ms": 100_000}})
            await lab.progress(2)
            relay.signal(signal.SIGTERM)
            relay.signal(signal.SIGTERM)
            await eventually(lambda: "stopping" in relay.log.read_text(), deadline=60)
            relay.signal(signal.SIGTERM)
            assert await relay.ended(60) == 1
            lab.realtime.faults.clear()
            await lab.relay()
            await lab.progress(20)
        await lab.all_finished()
        verdict = lab.verdict()
        assert not verdict.wrong, verdict


async def test_texts_put_away_for_memory_come_back_whole(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics(partitions=1)) as lab:
        relay = await lab.relay(MAX_TRANSCRIPT_BYTES="2000", SNAPSHOT_INTERVAL="0.3")
        await lab.stream(responses=12, tokens=120, channels=6, pause=0.03, parts=True)
        await lab.all_finished()
        verdict = lab.verdict()
        assert not verdict.wrong, verdict
        await comes_to({each.response_id: each.texts for each in lab.produced}, lambda: texts(lab))
        assert await relay.stop() == 0


async def texts(lab: Lab) -> dict[str, dict[str, str]]:
    records = await lab.records()
    return {key: {part["part"]: part["text"] for part in record["parts"]} for key, record in records.items()}
