"""Measures one gateway with many readers: memory of idle ones, processor time and delivery of busy ones. Writes
frames to Kafka directly.
"""

import asyncio
import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import aiohttp
import orjson

from devtools.bench.results import Result, Unsound
from devtools.bench.usage import Sample, sample
from devtools.bench.worker_process import WorkerProcess
from devtools.children import Child
from devtools.free_ports import free_port
from devtools.kafka import LocalKafka
from processor.kafka.connection import KafkaConnection
from processor.kafka.frames_writer import FramesWriter
from processor.kafka.topics_admin import TopicsWanted, apply
from topics.specs import TopicNames

MIB = 1024 * 1024
FRAMES = "gateway.frames"
NAMES = TopicNames("gateway.tokens", "gateway.responses", "gateway.dead-letters", "gateway.controls", FRAMES)
SETTLING_SECONDS = 2.0
TEXT = "x" * 40
READY_SECONDS = 120.0
OPEN_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class ReadersWanted:
    """`frames_per_second` is of one channel."""

    idle: int = 5_000
    busy: int = 500
    channels: int = 50
    frames_per_second: float = 10.0
    seconds: float = 30.0


async def run_gateway(kafka: LocalKafka, directory: Path, wanted: ReadersWanted, seed: int) -> Result:
    """Raises Unsound where an event was lost; ChildFailed, WorkerFailed."""
    _allow_sockets(wanted.idle + wanted.busy + 1_000)
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - before anything runs
    await apply(KafkaConnection(kafka.bootstrap), TopicsWanted(NAMES, 4 * MIB), partitions=4)
    result = Result(scenario="gateway", title="One gateway with many readers", load=_described(wanted), seed=seed)
    port = free_port()
    gateway = _gateway(kafka, directory, port)
    gateway.start()
    try:
        await _until_ready(gateway, port)
        order: Mapping[str, object] = {"open": [], "port": port}
        async with WorkerProcess("devtools.bench.stream_readers", order, directory / "readers.log") as readers:
            await readers.answer(READY_SECONDS)
            await _measure(kafka, gateway, readers, port, wanted, result)
    finally:
        await gateway.stop()
    return result


def _described(wanted: ReadersWanted) -> str:
    events = wanted.busy * wanted.frames_per_second
    return (
        f"{wanted.idle:,} readers of channels on which nothing happens, and {wanted.busy:,} readers of {wanted.channels:,} channels "
        f"with {wanted.frames_per_second:g} frames/s each, {events:,.0f} events/s together, for {wanted.seconds:g} s"
    )


def _gateway(kafka: LocalKafka, directory: Path, port: int) -> Child:
    settings = {
        "REALTIME": "direct",
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "TOKENS_TOPIC": NAMES.tokens,
        "RESPONSES_TOPIC": NAMES.responses,
        "DEAD_LETTERS_TOPIC": NAMES.dead_letters,
        "CONTROLS_TOPIC": NAMES.controls,
        "FRAMES_TOPIC": FRAMES,
        "STORE_URL": f"sqlite:///{directory / 'store.db'}",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(port),
        "LOG_LEVEL": "warning",
    }
    environment = {f"TOKENSTREAM_{name}": value for name, value in settings.items()}
    command = (sys.executable, "-m", "processor", "gateway")
    return Child("The gateway", *command, log=directory / "gateway.log", environment=environment)


async def _measure(
    kafka: LocalKafka, gateway: Child, readers: WorkerProcess, port: int, wanted: ReadersWanted, result: Result
) -> None:
    empty = _sample(gateway)
    connecting = await _opened(readers, port, [f"idle:{number}" for number in range(wanted.idle)])
    await asyncio.sleep(SETTLING_SECONDS)
    resting = _sample(gateway)
    await asyncio.sleep(SETTLING_SECONDS)
    rested = _sample(gateway)
    await _opened(readers, port, [f"busy:{number % wanted.channels}" for number in range(wanted.busy)])
    before = _sample(gateway)
    written = await _write(kafka, wanted)
    await asyncio.sleep(1)
    after = _sample(gateway)
    await readers.tell({})
    seen = await readers.answer(READY_SECONDS)
    expected = _expected(written, wanted)
    if seen["events"] != expected or seen["lost"]:
        raise Unsound(
            f"Readers received {seen['events']} of {expected} events, and {seen['lost']} lost their connection."
        )
    result.add("memory without readers", empty.rss / MIB, "MiB")
    result.add("memory with idle readers", resting.rss / MIB, "MiB")
    result.add("memory of an idle reader", (resting.rss - empty.rss) / 1024 / max(1, wanted.idle), "KiB")
    result.add("memory with busy readers too", after.rss / MIB, "MiB")
    result.add("processor, idle readers", _processor(resting, rested), "%")
    result.add("processor, busy readers", _processor(before, after), "%")
    result.add("events received", seen["events"])
    for name in ("p50", "p99", "max"):
        shown = "longest" if name == "max" else name
        result.add(f"from record to reader, {shown}", 1_000 * (seen[name] or 0.0), "ms")
    result.add("all idle readers connected", connecting, "s")


def _processor(before: Sample, after: Sample) -> float:
    return 100 * (after.cpu - before.cpu) / (after.at - before.at)


def _expected(written: int, wanted: ReadersWanted) -> int:
    """Every frame of a channel goes to all of its readers."""
    per_channel = written // wanted.channels
    return per_channel * wanted.busy


async def _opened(readers: WorkerProcess, port: int, channels: list[str]) -> float:
    paths = [f"/v1/channels/{quote(channel, safe='')}/events?limit=0" for channel in channels]
    await readers.tell({"open": paths, "port": port})
    return float((await readers.answer(OPEN_SECONDS))["seconds"])


async def _write(kafka: LocalKafka, wanted: ReadersWanted) -> int:
    """Writes frames to all channels at the pace asked for; returns how many."""
    writer = FramesWriter(lambda: KafkaConnection(kafka.bootstrap), FRAMES)
    await writer.start()
    count = max(1, int(wanted.seconds * wanted.frames_per_second))
    try:
        await asyncio.gather(*(_write_channel(writer, f"busy:{n}", n, count, wanted) for n in range(wanted.channels)))
    finally:
        await writer.stop()
    return count * wanted.channels


async def _write_channel(writer: FramesWriter, channel: str, number: int, count: int, wanted: ReadersWanted) -> None:
    pause = 1 / wanted.frames_per_second
    await asyncio.sleep(pause * number / wanted.channels)
    start = {"responseId": f"r-{number}", "seq": "0"}
    opening = {"channel": channel, "name": "start", "id": f"r-{number}/start/0-0/0", "data": None, "headers": start}
    await writer.write(channel, orjson.dumps(opening), time.time_ns() // 1_000_000)
    began, length = time.monotonic(), 0
    for frame in range(count):
        if (wait := began + frame * pause - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        now = time.time_ns()
        text = f"{now} {TEXT}"
        seq = str(frame + 1)
        headers = {"responseId": f"r-{number}", "seq": seq, "seqEnd": seq, "offset": str(length)}
        identity = f"r-{number}/token/{seq}-{seq}/{length}"
        fields = {"channel": channel, "name": "token", "id": identity, "data": text, "headers": headers}
        await writer.write(channel, orjson.dumps({**fields, "ts": now // 1_000_000}), now // 1_000_000)
        length += len(text)


async def _until_ready(gateway: Child, port: int) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(READY_SECONDS):
        while True:
            gateway.check()
            try:
                async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)


def _sample(gateway: Child) -> Sample:
    assert gateway.pid is not None, "the gateway was started"
    taken = sample(gateway.pid)
    assert taken is not None, "the gateway runs"
    return taken


def _allow_sockets(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
