"""A cancel at the moments when a response of the bridge is between two states."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from conftest import MakeKafka, MakeTopics
from devtools.kafka import LocalKafka
from devtools.topic_reader import read_topic
from processor.bridge.asking import BridgeRequest, Mode
from processor.bridge.measures import BridgeMeasures
from processor.bridge.pipe import CallerPipe
from processor.bridge.stream import Stream, StreamParts
from processor.telemetry.metrics import Metrics
from topics.codec import TokenRecord, decode_record
from topics.controls import REMEMBERED_SECONDS, ControlEvent, ControlRecord
from topics.producer import TokenProducer
from topics.specs import TopicNames

TOO_OLD = REMEMBERED_SECONDS + 0.05
"""Of a cancel: only blocks that were open for a moment when it is read obey it."""
FIRST = b'data: {"id":"m","choices":[{"index":0,"delta":{"content":"one "}}]}\n\n'


class Answering:
    """A model server and its answer, of one piece; `then` is called as that piece comes."""

    headers: dict[str, str]

    def __init__(self, then: Callable[[], None], *, patient: bool) -> None:
        self.headers = {}
        self.closed = False
        self._then = then
        self._patient = patient

    async def ask(self, *_: object) -> "Answering":
        await asyncio.sleep(0.1)
        return self

    async def read_first(self) -> bytes:
        self._then()
        if self._patient:
            await asyncio.sleep(30)
        return FIRST

    async def read(self) -> bytes:
        return b""

    def close(self) -> None:
        self.closed = True


class Link:
    """The bridge's connection to Kafka, which has just been checked."""

    def __init__(self, producer: TokenProducer) -> None:
        self._producer = producer

    @asynccontextmanager
    async def checked(self, _channel: str) -> AsyncIterator[TokenProducer]:
        yield self._producer


async def run_stream(producer: TokenProducer, answering: Answering) -> None:
    parts: Any = StreamParts(answering, Link(producer), BridgeMeasures(Metrics()), time.monotonic)  # type: ignore[arg-type]
    asked = BridgeRequest("r-1", "chat:1", Mode.STREAM, b"{}", (), ())
    pipe = CallerPipe(30)
    pipe.leave()
    async with asyncio.timeout(30):
        await Stream(asked, "/chat/completions", "", pipe, parts, lambda: None).run()


def cancel(producer: TokenProducer, age: float) -> None:
    producer._blocks.obey(ControlRecord(ControlEvent.CANCEL, "r-1", "chat:1", 1), age)


async def ends(kafka: LocalKafka, topic: str) -> list[tuple[str, str | None]]:
    found = [decode_record(record.value) async for record in read_topic(kafka.bootstrap, topic)]
    return [(each.event, each.reason) for each in found if isinstance(each, TokenRecord)]


async def test_a_cancel_at_the_moment_of_the_first_token_counts(kafka: LocalKafka, topic_names: TopicNames) -> None:
    """Also a cancel that was read so late that the block of the response does not find it among the remembered ones."""
    for age in (0.0, TOO_OLD):
        async with TokenProducer(kafka.bootstrap, topic_names.tokens, controls_topic=None) as producer:
            answering = Answering(lambda age=age, producer=producer: cancel(producer, age), patient=False)  # type: ignore[misc]
            await run_stream(producer, answering)
        assert answering.closed
        assert (await ends(kafka, topic_names.tokens))[-2:] == [("start", None), ("stop", "cancelled")]


async def test_the_stop_of_a_cancelled_response_waits_a_bounded_time(
    bare_kafka: MakeKafka, make_topics: MakeTopics
) -> None:
    broker = await bare_kafka()
    names = await make_topics(partitions=1, bootstrap=broker.bootstrap)
    async with TokenProducer(
        broker.bootstrap, names.tokens, controls_topic=None, max_unacknowledged=1, deadline=2
    ) as producer:

        def lost() -> None:
            broker.pause()
            cancel(producer, TOO_OLD)

        await run_stream(producer, Answering(lost, patient=True))
        broker.resume()
