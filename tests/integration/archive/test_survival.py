"""Nothing is lost when the archive, the store or Kafka fails, at the worst moments."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from devtools.kafka import LocalKafka
from devtools.stores import LocalPostgres, opened
from processor.archive.sql import SqlStore
from processor.archive.verify import VerifyReport, verify
from processor.clock import Clock
from processor.errors import StoreUnavailable
from processor.kafka.connection import KafkaConnection
from processor.ports.store import Entry, ResponseStore
from processor.telemetry.metrics import Metrics
from support.archives import archive_process, archiving, producing, send
from support.around import Around
from support.records import record
from support.stores import new_store_url
from support.waiting import eventually, slowness
from topics.records import ResponseRecord
from topics.specs import TopicNames

MakeTopics = Callable[..., Awaitable[TopicNames]]
MakeKafka = Callable[..., Awaitable[LocalKafka]]


def records(count: int, start: int = 0) -> list[ResponseRecord]:
    return [record(f"r-{n}", text=f"text {n} " * 20) for n in range(start, start + count)]


async def compare(kafka: LocalKafka, names: TopicNames, store: ResponseStore) -> VerifyReport:
    return await verify(store, lambda: KafkaConnection(kafka.bootstrap), responses_topic=names.responses)


async def whole(kafka: LocalKafka, names: TopicNames, store: ResponseStore, count: int) -> bool:
    report = await compare(kafka, names, store)
    assert report.finished == count
    assert not report.missing, f"{len(report.missing)} missing, {report.missing[:3]}"
    assert report.whole
    return report.equal == count


class BreakingStore(Around):
    """Stores half of a batch, then fails, `failures` times; `entered` counts the attempts."""

    failures = 0
    delay = 0.0

    async def upsert_batch(self, entries: Sequence[Entry], *, force: bool = False) -> None:
        if self.failures:
            self.failures -= 1
            await self.inside.upsert_batch(entries[: len(entries) // 2], force=force)
            raise StoreUnavailable("the store broke in the middle of a batch")
        await self.inside.upsert_batch(entries, force=force)
        # The batch is in the store, and not acknowledged yet.
        await asyncio.sleep(self.delay)


@pytest.fixture
async def breaking(tmp_path: Path) -> AsyncIterator[Any]:
    store: Any = BreakingStore(SqlStore(f"sqlite:///{tmp_path}/s.db", clock=Clock()))
    await store.start()
    yield store
    await store.close()


@pytest.mark.long  # the row archive-killed
async def test_killed_between_store_and_acknowledgement_nothing_is_missing_or_twice(
    kafka: LocalKafka, topic_names: TopicNames, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    async with producing(kafka) as producer, archive_process(kafka, topic_names, url, tmp_path) as process:
        for partition in range(4):
            await send(producer, topic_names.responses, records(300, 300 * partition), partition)
        for _ in range(2):
            await process.start(die_after_batches="1")
            assert await process.ended() == -signal.SIGKILL
        await process.start()
        async with opened(url) as store:
            await eventually(lambda: whole(kafka, topic_names, store, 1200), deadline=40, every=0.5)
            assert len([one async for one in store.iterate()]) == 1200


async def test_a_store_that_fails_in_the_middle_of_batches_is_tried_until_it_takes_them(
    kafka: LocalKafka, topic_names: TopicNames, breaking: Any
) -> None:
    breaking.failures = 6
    metrics = Metrics()
    async with producing(kafka) as producer, archiving(kafka, topic_names, breaking, metrics) as archive:
        await send(producer, topic_names.responses, records(400))
        await eventually(
            lambda: not archive.status().ok and "middle of a batch" in archive.status().reason, deadline=30
        )
        await eventually(lambda: whole(kafka, topic_names, breaking, 400), deadline=40, every=0.5)
        await eventually(lambda: archive.status().ok)
        assert metrics.registry.get_sample_value("tokenstream_archive_failures_total") == 6.0
        assert metrics.registry.get_sample_value("tokenstream_archived_total", {"status": "complete"}) == 400.0


async def test_while_the_store_is_down_the_lag_and_the_cause_can_be_seen(
    kafka: LocalKafka, topic_names: TopicNames, breaking: Any
) -> None:
    breaking.failures = 10**9
    metrics = Metrics()
    async with producing(kafka) as producer, archiving(kafka, topic_names, breaking, metrics) as archive:
        await send(producer, topic_names.responses, records(50), partition=2)
        told = "the store broke in the middle of a batch; 50 records wait in Kafka"
        await eventually(lambda: archive.status().reason == told, deadline=30)
        assert (archive.status().lag, archive.status().ok) == (50, False)
        labels = {"topic": topic_names.responses, "partition": "2"}
        await eventually(lambda: metrics.registry.get_sample_value("tokenstream_consumer_lag_records", labels) == 50.0)
        breaking.failures = 0
        await eventually(lambda: archive.status().lag == 0)
        assert archive.status().ok


async def test_rebalances_in_the_middle_of_batches_lose_nothing(
    kafka: LocalKafka, topic_names: TopicNames, breaking: Any
) -> None:
    breaking.delay = 0.3
    async with producing(kafka) as producer, AsyncExitStack() as running:
        first = await running.enter_async_context(archiving(kafka, topic_names, breaking))
        for partition in range(4):
            await send(producer, topic_names.responses, records(1000, 1000 * partition), partition)
        await eventually(lambda: first.status().lag, deadline=30)
        for _ in range(2):  # members come and go while batches are under way
            async with archiving(kafka, topic_names, breaking) as other:
                await eventually(lambda: other.status().lag is not None, deadline=30)
        breaking.delay = 0.0
        await eventually(lambda: whole(kafka, topic_names, breaking, 4000), deadline=60, every=1)
        await eventually(lambda: first.status().lag == 0, deadline=30)


async def test_kafka_may_be_down_at_the_start_and_go_away_later(
    bare_kafka: MakeKafka, make_topics: MakeTopics, breaking: Any
) -> None:
    broker = await bare_kafka()
    names = await make_topics(bootstrap=broker.bootstrap)
    broker.kill()
    async with archiving(broker, names, breaking) as archive:
        await eventually(lambda: "Kafka can't be read" in archive.status().reason, deadline=30)
        await broker.start()
        async with producing(broker) as producer:
            await send(producer, names.responses, records(200))
            await eventually(lambda: whole(broker, names, breaking, 200), deadline=60, every=0.5)
        broker.kill()
        await eventually(lambda: "Kafka can't be read" in archive.status().reason, deadline=30)
        await broker.start()
        async with producing(broker) as producer:
            await send(producer, names.responses, records(200, 200), partition=1)
            await eventually(lambda: whole(broker, names, breaking, 400), deadline=90, every=0.5)
            await eventually(lambda: archive.status().ok, deadline=30)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_ten_thousand_responses_survive_two_kills_and_a_restart_of_the_store(
    kind: str, kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    names = await make_topics(partitions=4)
    count = 10_000
    async with AsyncExitStack() as stack:
        server = None
        if kind == "postgres":
            server = await asyncio.to_thread(LocalPostgres)
            stack.callback(server.close)
            url = await server.create_database()
        else:
            url = await new_store_url(kind, tmp_path)
        producer = await stack.enter_async_context(producing(kafka))
        process = await stack.enter_async_context(archive_process(kafka, names, url, tmp_path))
        store = await stack.enter_async_context(opened(url))
        await process.start()
        await _send_all(producer, names, count // 2, 0)
        await eventually(lambda: _stored(store, count // 10), deadline=60, every=0.1)
        await process.kill()
        await process.start()
        await _send_all(producer, names, count // 2, count // 2)
        await eventually(lambda: _stored(store, count // 2), deadline=60, every=0.1)
        if server is not None:
            await asyncio.to_thread(server.crash)
            await asyncio.to_thread(server.restart)
        await process.kill()
        await process.start()
        await eventually(lambda: whole(kafka, names, store, count), deadline=120, every=1)
        assert len({one.response_id async for one in store.iterate()}) == count


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "wanted"), [("sqlite", 1000), ("postgres", 2000)])
async def test_throughput_is_enough(
    kind: str,
    wanted: int,
    kafka: LocalKafka,
    make_topics: MakeTopics,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = await make_topics(partitions=4)
    count = 10_000
    url = await new_store_url(kind, tmp_path)
    async with producing(kafka) as producer:
        await _send_all(producer, names, count, 0)
    async with opened(url) as store, archive_process(kafka, names, url, tmp_path) as process:
        await process.start()
        await eventually(lambda: _stored(store, 1), deadline=60, every=0.01)
        began = time.monotonic()
        await eventually(lambda: _stored(store, count), deadline=120, every=0.1)
        rate = count / (time.monotonic() - began)
    with capsys.disabled():
        print(f"\n{kind}: {rate:.0f} responses/s (wanted {wanted})")
    assert rate > wanted / slowness()


async def _send_all(producer: object, names: TopicNames, count: int, start: int) -> None:
    parts: Iterable[tuple[int, list[ResponseRecord]]] = (
        (partition, records(count // 4, start + partition * (count // 4))) for partition in range(4)
    )
    for partition, some in parts:
        await send(producer, names.responses, some, partition)


async def _stored(store: ResponseStore, count: int) -> bool:
    assert isinstance(store, SqlStore)
    return await store.count() >= count
