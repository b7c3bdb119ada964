"""Compares the log with the store, and repairs."""

from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from devtools.kafka import LocalKafka
from devtools.stores import opened
from processor.archive.retention import NotDeletable, delete_response
from processor.archive.verify import verify
from processor.clock import Clock
from processor.kafka.connection import KafkaConnection
from processor.kafka.tombstones import KafkaTombstones
from processor.ports.store import STALE_MS
from support.recorders import RecordingTombstones
from support.records import START, entry, record
from topics.codec import encode_response
from topics.records import Status
from topics.specs import TopicNames


async def test_verify_finds_and_mends_what_the_store_lacks(
    kafka: LocalKafka, topic_names: TopicNames, tmp_path: Path
) -> None:
    topic = topic_names.responses
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=topic)
    await producer.start()
    kept = [record(f"r-{n}", text=f"text {n}") for n in range(40)]
    async with producer.transaction():
        for n, one in enumerate(kept):
            key = one.response_id.encode()
            snapshot = record(one.response_id, status=Status.STREAMING, text="te")
            await producer.send(topic, encode_response(snapshot), key=key, partition=n % 4)
            await producer.send(topic, encode_response(one), key=key, partition=n % 4)
        await producer.send(topic, encode_response(record("open", status=Status.STREAMING)), key=b"open", partition=0)
        await producer.send(topic, encode_response(record("gone")), key=b"gone", partition=1)
        await producer.send(topic, None, key=b"gone", partition=1)
        await producer.send(topic, b"nonsense", key=b"x", partition=2)
    await producer.begin_transaction()
    await producer.send(topic, encode_response(record("aborted")), key=b"aborted", partition=0)
    await producer.abort_transaction()
    await producer.stop()

    steps: list[int] = []
    connection = KafkaConnection(kafka.bootstrap)
    async with opened(f"sqlite:///{tmp_path}/s.db") as store:
        await store.upsert_batch([entry(f"r-{n}", partition=n % 4, offset=0, text=f"text {n}") for n in range(10, 40)])
        await store.upsert_batch([entry("r-5", offset=0, text="other"), entry("gone", offset=0)])
        report = await verify(
            store, lambda: connection, responses_topic=topic, progress=lambda done, _total: steps.append(done)
        )
        assert (report.finished, report.equal, report.unreadable, report.whole) == (40, 30, 1, False)
        assert report.missing == ["r-0", "r-1", "r-2", "r-3", "r-4", "r-6", "r-7", "r-8", "r-9"]
        assert (report.different, report.undeleted) == (["r-5"], ["gone"])
        assert sum(steps) >= 84
        mended = await verify(store, lambda: connection, responses_topic=topic, repair=True)
        assert mended.repaired == 11
        again = await verify(store, lambda: connection, responses_topic=topic)
        assert again.whole
        assert again.equal == 40

        tombstones = KafkaTombstones(lambda: connection, responses_topic=topic)
        await delete_response(store, tombstones, "r-7")
        await tombstones.close()
        after = await verify(store, lambda: connection, responses_topic=topic)
        assert (after.whole, after.finished) == (True, 39)


async def test_an_open_response_is_deleted_by_force_or_by_age(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    long_ago = Clock().wall() - STALE_MS / 1000 - 1
    async with opened(url, Clock(wall=lambda: long_ago)) as store:
        await store.upsert_batch([entry("stale", offset=9, status=Status.STREAMING, updated_at=2**53 - 1)])
    async with opened(url) as store:
        opens = [entry(name, offset=n, status=Status.STREAMING, updated_at=1_763_860) for n, name in enumerate("ab")]
        far = entry("far", offset=5, status=Status.STREAMING, updated_at=2**53 - 1)
        await store.upsert_batch([*opens, far])
        tombstones = RecordingTombstones()
        with pytest.raises(NotDeletable, match="--force"):
            await delete_response(store, tombstones, "a")
        assert tombstones.written == []
        await delete_response(store, tombstones, "stale")
        await delete_response(store, tombstones, "b", force=True)
        await delete_response(store, tombstones, "far", force=True)
        assert [item.response_id for item in (await store.hydrate("chat:1", limit=9)).items] == ["a"]


async def test_the_first_final_record_is_right_though_compaction_kept_a_later_one(
    kafka: LocalKafka, topic_names: TopicNames, tmp_path: Path
) -> None:
    topic = topic_names.responses
    connection = KafkaConnection(kafka.bootstrap)
    producer = AIOKafkaProducer(**connection.arguments())
    await producer.start()
    later = [record(f"r-{n}", status=Status.ABANDONED, text="", updated_at=START + 900_000) for n in range(2)]
    for one in later:
        for _ in range(5):
            await producer.send_and_wait(topic, encode_response(one), key=one.response_id.encode(), partition=0)
    await producer.stop()
    whole = [
        entry("r-0", partition=0, offset=1, text="The whole answer."),
        entry("r-1", partition=2, offset=700, text="The whole answer."),
    ]
    async with opened(f"sqlite:///{tmp_path}/s.db") as store:
        await store.upsert_batch(whole)
        report = await verify(store, lambda: connection, responses_topic=topic, repair=True)
        assert (report.finished, report.equal, report.earlier, report.repaired) == (2, 0, 2, 0)
        assert report.whole
        for kept in whole:
            stored = await store.get(kept.response_id)
            assert stored is not None
            assert stored.value == kept.value
