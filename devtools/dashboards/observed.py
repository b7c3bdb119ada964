"""The system under observation: two relays, an archive, an api, a bridge and a gateway, with good days and bad ones."""

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import AIOKafkaProducer

from devtools.dashboards.boards import Json
from devtools.dashboards.prometheus import Prometheus, Target, scraping
from devtools.dashboards.questions import Answer, Span, ask, choices
from devtools.dashboards.streams import Streams, streams
from devtools.deployment import create_topics, names_after
from devtools.lab import Lab, laboratory
from devtools.process import TokenstreamProcess
from devtools.waiting import eventually
from topics.controls import ControlEvent, ControlRecord, encode_control

POINTS = 120


@dataclass(frozen=True, slots=True)
class Seen:
    """What a Prometheus knew at the end."""

    answers: dict[str, dict[int, list[Answer]]]
    """By dashboard."""
    choices: dict[str, list[str]]
    rules: list[dict[str, Any]]
    targets: list[dict[str, Any]]
    span: Span


@dataclass(frozen=True, slots=True)
class World:
    lab: Lab
    relay: TokenstreamProcess
    second: TokenstreamProcess
    archive: TokenstreamProcess
    api: TokenstreamProcess
    streams: Streams

    def targets(self) -> list[Target]:
        return [
            Target("tokenstream-relay", "relay-0", self.relay.port),
            Target("tokenstream-relay", "relay-1", self.second.port),
            Target("tokenstream-archive", "archive-0", self.archive.port),
            Target("tokenstream-api", "api-0", self.api.port),
            *self.streams.targets(),
        ]


async def observe(bootstrap: str, boards: dict[str, Json], *, seconds: float, prefix: str) -> Seen:
    """Let the system run for `seconds` under load and faults, and ask every question of the boards at the end."""
    names = await create_topics(bootstrap, names_after(prefix))
    with tempfile.TemporaryDirectory(prefix="tokenstream-observed-") as directory:
        async with laboratory(bootstrap, names) as lab, streams(lab, Path(directory)) as others:
            world = await started(lab, Path(directory), others)
            async with scraping(world.targets(), Path(directory)) as prometheus:
                await world.api.start()
                await world.api.ready()
                began = time.time()
                async with traffic(world):
                    await mishaps(world, seconds)
                    return await asked(prometheus, boards, began)


async def started(lab: Lab, directory: Path, others: Streams) -> World:
    """All processes, of which two run: the second relay joins later, and the api's first probe is to be seen."""
    store = {"STORE_URL": f"sqlite:///{directory / 'store.db'}"}
    relays = {
        "IDLE_TIMEOUT": "4",
        "GAP_TIMEOUT": "1",
        "CANCEL_TIMEOUT": "2",
        "ABLY_MAX_CONNECTIONS": "3",
        "KAFKA_SESSION_TIMEOUT": "10",  # on a crowded machine three seconds pass without a heartbeat
    }
    world = World(
        lab,
        relay=lab.new(**relays),
        second=lab.new(**relays),
        archive=lab.new("archive", **store),
        api=lab.new("api", **store, PROBE_CHANNEL="probe:reader"),
        streams=others,
    )
    await asyncio.gather(world.relay.start(), world.archive.start())
    await asyncio.gather(world.relay.ready(), world.archive.ready())
    return world


@asynccontextmanager
async def traffic(world: World) -> AsyncIterator[None]:
    """Responses stream, readers ask, and producers err, until this is left."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for first in range(3):
            tasks.create_task(conversations(world.lab, first, stop))
        tasks.create_task(readers(world.api, stop))
        tasks.create_task(bad_producers(world.lab, stop))
        tasks.create_task(world.streams.run(stop))
        try:
            yield
        finally:
            stop.set()


async def conversations(lab: Lab, first: int, stop: asyncio.Event) -> None:
    """Three responses at a time, over and over; of the first, parts take turns."""
    seed = first
    while not stop.is_set():
        tokens = 30 + 10 * (seed % 5)
        await lab.stream(responses=3, tokens=tokens, channels=9, pause=0.05, seed=seed, parts=first == 0)
        seed += 3
        await pause(stop, 0.5)


async def readers(api: TokenstreamProcess, stop: asyncio.Event) -> None:
    paths = ("/v1/channels/chat:1/hydrate", "/v1/channels/chat:2/responses", "/v1/responses/unknown")
    while not stop.is_set():
        for path in paths:
            await api.text(path)
            await pause(stop, 0.15)


async def bad_producers(lab: Lab, stop: asyncio.Event) -> None:
    """The faults of model services: no JSON, tokens never sent, tokens sent twice, failed ends, missing ends."""
    producer = AIOKafkaProducer(bootstrap_servers=lab.bootstrap)
    await producer.start()
    try:
        number = 0
        while not stop.is_set():
            for value in wrong_records(number):
                await producer.send_and_wait(lab.names.tokens, value, key=f"bad:{number}".encode())
            for response in (f"ignoring-{number}", f"obeying-{number}"):
                cancel = ControlRecord(ControlEvent.CANCEL, response, f"bad:{number % 3}", int(time.time() * 1000))
                await producer.send_and_wait(lab.names.controls, encode_control(cancel), key=response.encode())
            await producer.send_and_wait(lab.names.tokens, obeyed(number), key=f"bad:{number}".encode())
            number += 1
            await pause(stop, 1.5)
    finally:
        await producer.stop()


def obeyed(number: int) -> bytes:
    return json.dumps({"event": "stop", "responseId": f"obeying-{number}", "seq": 1, "reason": "cancelled"}).encode()


def wrong_records(number: int) -> Sequence[bytes]:
    def event(kind: str, response: str, seq: int, **fields: Any) -> bytes:
        given = {"event": kind, "responseId": f"{response}-{number}", "seq": seq, **fields}
        return json.dumps(given).encode()

    channel = {"channel": f"bad:{number % 3}"}
    return (
        b"{",
        event("token", "never-started", 4, text="lost"),
        event("start", "holed", 0, **channel),
        event("token", "holed", 1, text="a"),
        event("token", "holed", 1, text="a"),
        event("token", "holed", 5, text="f"),
        event("stop", "holed", 6),
        event("start", "broken", 0, **channel),
        event("token", "broken", 1, text="a"),
        event("stop", "broken", 2, reason="error", error={"code": "overloaded", "message": "try later"}),
        event("start", "ignoring", 0, **channel),
        event("start", "obeying", 0, **channel),
        event("start", "left", 0, **channel),
        event("token", "left", 1, text="a"),
    )


async def mishaps(world: World, seconds: float) -> None:
    """A calm time, refusals, connections that break, a second relay, a service that is down, a new api, and calm again."""
    faults = world.lab.realtime.faults
    await asyncio.sleep(seconds * 0.25)
    faults.add({"nack": {"share": 0.08, "code": 42911, "seed": 1}})
    faults.add({"nack": {"share": 0.03, "code": 50003, "seed": 2}})
    await asyncio.sleep(seconds * 0.15)
    faults.clear()
    faults.add({"cut": {"publishes": 40}})
    await asyncio.sleep(seconds * 0.1)
    faults.clear()
    await world.second.start()
    await world.second.ready(deadline=150)
    await asyncio.sleep(seconds * 0.15)
    faults.add({"down": {"seconds": min(6.0, seconds * 0.1)}})
    await asyncio.sleep(seconds * 0.1)
    await world.api.stop()
    await world.api.start()  # probes at once, and a rate needs a second probe
    await world.api.ready(deadline=150)
    await asyncio.sleep(seconds * 0.25)


async def asked(prometheus: Prometheus, boards: dict[str, Json], began: float) -> Seen:
    await eventually(lambda: all_up(prometheus), deadline=60, every=0.5)
    now = time.time()
    span = Span(began, now, max(1.0, (now - began) / POINTS))
    return Seen(
        answers={name: await ask(prometheus, board, span) for name, board in boards.items()},
        choices=await choices(prometheus, next(iter(boards.values()))),
        rules=await prometheus.rules(),
        targets=await prometheus.targets(),
        span=span,
    )


async def all_up(prometheus: Prometheus) -> bool:
    return all(target["health"] == "up" for target in await prometheus.targets())


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but not beyond the stop."""
    with contextlib.suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(seconds):
            await stop.wait()
