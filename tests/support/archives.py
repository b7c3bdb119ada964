"""Running archives, and what feeds them."""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
from aiokafka import AIOKafkaProducer

from devtools.children import Child
from devtools.kafka import LocalKafka
from processor.archive.app import Archive, ArchiveSettings
from processor.archive.stream import ResponseStream
from processor.core.backoff import Backoff
from processor.kafka.connection import KafkaConnection
from processor.ports.store import ResponseStore
from processor.telemetry.metrics import Metrics
from topics.codec import encode_response
from topics.records import ResponseRecord
from topics.specs import TopicNames

RUNNER = Path(__file__).parents[1] / "integration" / "archive" / "run_archive.py"


def idle_stream(kafka: LocalKafka, names: TopicNames) -> ResponseStream:
    """A stream, not started, that does nothing with its records."""

    async def receive(_: object) -> None: ...

    return ResponseStream(
        KafkaConnection(kafka.bootstrap),
        group_id=f"{names.responses}-archive",
        topic=names.responses,
        session_timeout=6.0,
        max_batch_bytes=1 << 20,
        receive=receive,
        rebalanced=lambda _: None,
    )


@asynccontextmanager
async def archiving(
    kafka: LocalKafka, names: TopicNames, store: ResponseStore, metrics: Metrics | None = None
) -> AsyncIterator[Archive]:
    settings = ArchiveSettings(f"{names.responses}-archive", names.responses, names.dead_letters, session_timeout=6.0)
    archive = Archive(
        settings,
        source=lambda: KafkaConnection(kafka.bootstrap),
        store=store,
        metrics=metrics or Metrics(),
        backoff=Backoff(first=0.1, cap=1.0),
    )
    await archive.start()
    try:
        yield archive
    finally:
        await archive.stop()


@asynccontextmanager
async def producing(kafka: LocalKafka, **options: object) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all", max_request_size=6_000_000, **options)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def send(producer: AIOKafkaProducer, topic: str, records: Iterable[ResponseRecord], partition: int = 0) -> None:
    sent = [
        await producer.send(topic, encode_response(one), key=one.response_id.encode(), partition=partition)
        for one in records
    ]
    await asyncio.gather(*sent)


class ArchiveProcess(Child):
    """`run_archive.py` as a child, to be killed."""

    def __init__(self, kafka: LocalKafka, names: TopicNames, store_url: str, log: Path) -> None:
        super().__init__("The archive", log=log)
        self._options = {
            "bootstrap": kafka.bootstrap,
            "group": f"{names.responses}-archive",
            "responses": names.responses,
            "dead_letters": names.dead_letters,
            "store": store_url,
        }

    async def start(self, **more: str) -> None:
        self._command = (sys.executable, str(RUNNER), orjson.dumps(self._options | more).decode())
        await super().start()


@asynccontextmanager
async def archive_process(
    kafka: LocalKafka, names: TopicNames, store_url: str, directory: Path
) -> AsyncIterator[ArchiveProcess]:
    process = ArchiveProcess(kafka, names, store_url, directory / "archive.log")
    try:
        yield process
    finally:
        await process.stop()
