"""The archive against a real broker and real stores."""

import asyncio
from pathlib import Path

from aiokafka import AIOKafkaConsumer

from devtools.kafka import LocalKafka
from devtools.stores import opened
from support.archives import archiving, producing, send
from support.records import record
from support.waiting import eventually
from topics.records import Status
from topics.specs import TopicNames


async def dead_letters(kafka: LocalKafka, names: TopicNames, count: int) -> list[tuple[bytes | None, dict[str, str]]]:
    consumer = AIOKafkaConsumer(names.dead_letters, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            found = [await anext(consumer) for _ in range(count)]
    finally:
        await consumer.stop()
    return [(one.value, {name: text.decode() for name, text in one.headers}) for one in found]


async def test_a_finished_response_is_in_the_store_soon_and_whole(
    kafka: LocalKafka, topic_names: TopicNames, tmp_path: Path
) -> None:
    async with (
        opened(f"sqlite:///{tmp_path}/s.db") as store,
        archiving(kafka, topic_names, store) as archive,
        producing(kafka) as producer,
    ):
        snapshot = record("r-1", status=Status.STREAMING, text="Hel")
        await send(producer, topic_names.responses, [snapshot, record("r-1"), record("r-2", text="x\0y")], 1)
        got = await eventually(lambda: store.get("r-2"), deadline=30)
        assert got is not None
        assert got.record == record("r-2", text="x\0y")
        first = await store.get("r-1")
        assert first is not None
        assert first.record == record("r-1")
        await eventually(lambda: archive.status().lag == 0)
        assert archive.status().ok
        assert archive.status().reason == "4 partitions"


async def test_what_is_no_record_goes_to_the_dead_letters_while_its_batch_goes_on(
    kafka: LocalKafka, topic_names: TopicNames, tmp_path: Path
) -> None:
    async with (
        opened(f"sqlite:///{tmp_path}/s.db") as store,
        producing(kafka) as producer,
    ):
        await producer.send(topic_names.responses, b"{nonsense", key=b"bad", partition=0)
        await producer.send(topic_names.responses, b'{"v":1}', key=b"bad", partition=0)
        await producer.send(topic_names.responses, b'{"v":2}', key=b"bad", partition=0)
        await send(producer, topic_names.responses, [record("refused", channel="c" * 2000), record("good")])
        async with archiving(kafka, topic_names, store):
            letters = await dead_letters(kafka, topic_names, 4)
            assert await eventually(lambda: store.get("good"))
    told = [(letter[1]["tokenstream-reason"], letter[1]["tokenstream-offset"]) for letter in letters]
    assert sorted(told, key=lambda one: one[1]) == [
        ("not_json", "0"),
        ("invalid", "1"),
        ("version", "2"),
        ("store_refused", "3"),
    ]
    assert letters[0][0] == b"{nonsense"
    assert letters[0][1]["tokenstream-topic"] == topic_names.responses


async def test_records_of_an_aborted_transaction_are_not_stored(
    kafka: LocalKafka, topic_names: TopicNames, tmp_path: Path
) -> None:
    async with (
        opened(f"sqlite:///{tmp_path}/s.db") as store,
        archiving(kafka, topic_names, store) as archive,
        producing(kafka, transactional_id=topic_names.responses) as producer,
    ):
        await producer.begin_transaction()
        await send(producer, topic_names.responses, [record("aborted")])
        await producer.abort_transaction()
        async with producer.transaction():
            await send(producer, topic_names.responses, [record("committed")])
        await eventually(lambda: store.get("committed"), deadline=30)
        assert await store.get("aborted") is None
        await eventually(lambda: archive.status().lag == 0)


async def test_a_tombstone_removes_the_response_from_the_store(
    kafka: LocalKafka, topic_names: TopicNames, tmp_path: Path
) -> None:
    async with (
        opened(f"sqlite:///{tmp_path}/s.db") as store,
        archiving(kafka, topic_names, store),
        producing(kafka) as producer,
    ):
        await send(producer, topic_names.responses, [record("r-1")])
        await eventually(lambda: store.get("r-1"), deadline=30)
        await producer.send_and_wait(topic_names.responses, None, key=b"r-1", partition=0)
        await send(producer, topic_names.responses, [record("r-1"), record("r-2")])
        await eventually(lambda: store.get("r-2"))
        assert await store.get("r-1") is None
