"""Cancels: measures the time from the request to the api until the producer's stop is in Kafka."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from random import Random

import orjson
from aiokafka import AIOKafkaConsumer

from devtools.bench.results import Result, Unsound
from devtools.bench.run import UNPACED
from devtools.deployment import LocalDeployment, names_after, on_broker
from devtools.kafka import LocalKafka
from devtools.process import TokenstreamProcess
from topics.producer import TokenProducer

TOKEN = "of-the-bench"
TOKEN_PAUSE = 0.02
DEADLINE = 30.0
METRIC_DEADLINE = 20.0


@dataclass(slots=True)
class Stops:
    """When stops were read from the tokens topic, by response."""

    at: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, value: bytes | None) -> None:
        event = orjson.loads(value or b"{}")
        if event.get("event") == "stop":
            self.at[event["responseId"]] = time.monotonic()
            self.reasons[event["responseId"]] = event["reason"]
            self.came.set()

    async def of(self, response_id: str) -> float:
        while response_id not in self.at:
            self.came.clear()
            await self.came.wait()
        return self.at[response_id]


async def run_cancel(kafka: LocalKafka, directory: Path, *, cancels: int, seed: int) -> Result:
    """One cancel after the other, each of a response that streams 50 tokens a second."""
    title = "Cancels, from the request until the producer's stop is in Kafka"
    load = f"{cancels} responses one after the other, each cancelled while it streams"
    result = Result(scenario="cancel", title=title, load=load, seed=seed)
    async with on_broker(kafka, directory, names_after("cancel"), settings=UNPACED) as stage:
        relay, api = stage.new(), stage.new("api", API_TOKENS=f"{TOKEN}=*", API_CANCEL_RATE="0")
        for process in (relay, api):
            await process.start()
        await asyncio.gather(relay.ready(), api.ready())
        async with reading_stops(stage) as stops, producing(stage) as producer:
            seconds = [
                await one(stage, api, producer, stops, f"c-{number}", Random(seed + number))
                for number in range(cancels)
            ]
        honoured = await counted(relay, cancels)
    result.add("cancels", cancels)
    result.add("honoured", honoured)
    for part, name in ((0.5, "p50"), (0.99, "p99"), (1.0, "longest")):
        result.add(f"request to stop, {name}", 1000 * nearest_rank(seconds, part), "ms")
    return result


def nearest_rank(values: Sequence[float], part: float) -> float:
    """The least value that is not below this part of all."""
    return sorted(values)[max(0, ceil(part * len(values)) - 1)]


@contextlib.asynccontextmanager
async def producing(stage: LocalDeployment) -> AsyncIterator[TokenProducer]:
    """A producer that reads controls already."""
    names = stage.names
    async with TokenProducer(stage.kafka.bootstrap, names.tokens, controls_topic=names.controls) as producer:
        async with asyncio.timeout(DEADLINE):
            while producer.controls_trouble is not None:
                await asyncio.sleep(TOKEN_PAUSE)
        yield producer


@contextlib.asynccontextmanager
async def reading_stops(stage: LocalDeployment) -> AsyncIterator[Stops]:
    stops = Stops()
    consumer = AIOKafkaConsumer(
        stage.names.tokens, bootstrap_servers=stage.kafka.bootstrap, auto_offset_reset="earliest"
    )
    await consumer.start()

    async def read() -> None:
        async for record in consumer:
            stops.note(record.value)

    reading = asyncio.create_task(read())
    try:
        yield stops
    finally:
        reading.cancel()
        await asyncio.wait({reading})
        await consumer.stop()


async def one(
    stage: LocalDeployment,
    api: TokenstreamProcess,
    producer: TokenProducer,
    stops: Stops,
    response_id: str,
    random: Random,
) -> float:
    """Seconds from sending the request until the stop was read back."""
    channel = f"chat:{response_id}"
    asked = asyncio.create_task(ask(stage, api, response_id, channel, random.uniform(0.02, 0.1)))
    async with producer.response(channel, response_id=response_id) as response, asyncio.timeout(DEADLINE):
        while True:
            await response.token("word ")
            await asyncio.sleep(TOKEN_PAUSE)
    began = await asked
    async with asyncio.timeout(DEADLINE):
        stopped = await stops.of(response_id)
    if not response.cancelled or stops.reasons[response_id] != "cancelled":
        raise Unsound(f"Response {response_id} was cancelled, and ended {stops.reasons[response_id]}.")
    return stopped - began


async def ask(stage: LocalDeployment, api: TokenstreamProcess, response_id: str, channel: str, after: float) -> float:
    """When the request was sent."""
    await asyncio.sleep(after)
    url = f"{api.url}/v1/responses/{response_id}/cancel"
    began = time.monotonic()
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with stage.http.post(url, json={"channel": channel}, headers=headers) as answer:
        if answer.status != 202:
            raise Unsound(f"The api answered {answer.status} to a cancel: {await answer.text()}")
    return began


async def counted(relay: TokenstreamProcess, cancels: int) -> float:
    """How many the relay saw honoured: all of them, or there are no figures."""
    deadline = time.monotonic() + METRIC_DEADLINE
    found = 0.0
    while time.monotonic() < deadline:
        found = (await relay.metrics()).get("tokenstream_cancel_seconds_count", 0.0)
        if found >= cancels:
            return found
        await asyncio.sleep(0.1)
    raise Unsound(f"The relay saw {found:.0f} of {cancels} cancels honoured.")
