"""A bridge within the test's process, between a model server that is real as far as HTTP goes, and a real Kafka."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from time import monotonic
from typing import Any

import aiohttp

from devtools.kafka import LocalKafka
from devtools.model_server import ModelServer
from devtools.topic_reader import read_topic
from processor.bridge.access import BridgeAccess
from processor.bridge.app import Bridge, BridgeOptions
from processor.bridge.asking import Rules
from processor.bridge.kafka import KafkaLink
from processor.bridge.measures import BridgeMeasures
from processor.bridge.stream import StreamParts
from processor.bridge.upstream import Upstream, make_session
from processor.config.values import ApiToken
from processor.telemetry.health import Health
from processor.telemetry.metrics import Metrics
from processor.telemetry.server import HttpServer
from support.waiting import eventually
from topics.codec import TokenRecord, decode_record
from topics.producer import TokenProducer

NO_RULES = Rules()
MAX_BYTES = 2**27


@dataclass
class World:
    """What a test works with. `url` is what an OpenAI client is given as its base."""

    bridge: Bridge
    link: KafkaLink
    metrics: Metrics
    model: ModelServer
    client: aiohttp.ClientSession
    url: str
    kafka: LocalKafka
    topic: str

    def ask(self, script: str = "words", text: str = "one two three four five", **more: Any) -> Any:
        """Posts a chat completion: a context manager, as aiohttp's."""
        headers = {"x-tokenstream-channel": "chat:1", **more.pop("headers", {})}
        body = {"model": script, "messages": [{"role": "user", "content": text}], **more}
        return self.client.post(f"{self.url}/chat/completions", json=body, headers=headers)

    async def records(self, response_id: str) -> list[TokenRecord]:
        """Of one response in Kafka, in order."""
        found = [decode_record(record.value) async for record in read_topic(self.kafka.bootstrap, self.topic)]
        return [each for each in found if isinstance(each, TokenRecord) and each.response_id == response_id]

    async def ended(self, response_id: str) -> list[TokenRecord]:
        """The same, once the stop is there. Its numbers have no hole."""

        async def look() -> list[TokenRecord]:
            records = await self.records(response_id)
            return records if records and records[-1].event == "stop" else []

        records = await eventually(look, deadline=30)
        assert [record.seq for record in records] == list(range(len(records)))
        assert records[0].event == "start"
        return records

    def metric(self, name: str, **labels: str) -> float:
        self.metrics.fold()
        return self.metrics.registry.get_sample_value(f"tokenstream_{name}", labels) or 0.0


@asynccontextmanager
async def bridge_world(
    kafka: LocalKafka,
    topic: str,
    *,
    rules: Rules = NO_RULES,
    max_streams: int = 1000,
    drain_seconds: float = 20.0,
    write_seconds: float = 30.0,
    idle_seconds: float = 60.0,
    tokens: Sequence[ApiToken] = (),
    key: str | None = None,
    upstream: str | None = None,
    connected: bool = True,
    controls: str | None = None,
) -> AsyncIterator[World]:
    """`upstream`: another model server's URL. Without `connected` it is entered although Kafka does not answer."""

    def make() -> TokenProducer:
        return TokenProducer(kafka.bootstrap, topic, deadline=10, controls_topic=controls, request_timeout_ms=5000)

    async def given_tokens() -> Sequence[ApiToken]:
        return tokens

    async def given_key() -> str | None:
        return key

    metrics = Metrics()
    async with (
        ModelServer() as model,
        make_session() as session,
        KafkaLink(make, lambda: None, Random(1).random, lambda: None) as link,
        aiohttp.ClientSession() as client,
    ):
        parts = StreamParts(
            Upstream(session, upstream or model.url, idle_seconds), link, BridgeMeasures(metrics), monotonic
        )
        options = BridgeOptions(rules, max_streams, MAX_BYTES, write_seconds, drain_seconds, given_key)
        bridge = Bridge(options, BridgeAccess(given_tokens, required=bool(tokens)), parts)
        async with HttpServer(bridge.make_app(Health(metrics, list, list)), host="127.0.0.1", port=0) as server:
            if connected:
                await eventually(lambda: _works(link), deadline=30)
            try:
                yield World(bridge, link, metrics, model, client, f"http://127.0.0.1:{server.port}/v1", kafka, topic)
            finally:
                await bridge.drain()


async def _works(link: KafkaLink) -> bool:
    return await link.trouble() is None


def text_of(records: list[TokenRecord]) -> str:
    return "".join(record.text or "" for record in records if record.event == "token")
