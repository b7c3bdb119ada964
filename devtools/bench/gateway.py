"""Measures one gateway with many readers: memory of idle ones, processor time and delivery of busy ones. Writes
frames to Kafka directly.
"""

import asyncio
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import orjson

from devtools.bench.results import Result, Unsound
from devtools.bench.worker_process import WorkerProcess
from devtools.deployment import create_topics, kafka_settings, names_after, settings_here
from devtools.kafka import LocalKafka
from devtools.process import TokenstreamProcess, prefixed, running
from devtools.usage import Sample, sample
from processor.kafka.connection import KafkaConnection
from processor.kafka.frames_writer import FramesWriter

MIB = 1024 * 1024
NAMES = names_after("gateway", frames=True)
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
    await create_topics(kafka.bootstrap, NAMES)
    result = Result(scenario="gateway", title="One gateway with many readers", load=_described(wanted), seed=seed)
    async with running(_gateway(kafka, directory)) as gateway:
        order: Mapping[str, object] = {"open": [], "port": gateway.port}
        async with WorkerProcess("devtools.bench.stream_readers", order, directory / "readers.log") as readers:
            await readers.answer(READY_SECONDS)
            await _measure(kafka, gateway, readers, wanted, result)
    return result


def _described(wanted: ReadersWanted) -> str:
    events = wanted.busy * wanted.frames_per_second
    return (
        f"{wanted.idle:,} readers of channels on which nothing happens, and {wanted.busy:,} readers of {wanted.channels:,} channels "
        f"with {wanted.frames_per_second:g} frames/s each, {events:,.0f} events/s together, for {wanted.seconds:g} s"
    )


def _gateway(kafka: LocalKafka, directory: Path) -> TokenstreamProcess:
    settings = {
        **settings_here(),
        "REALTIME": "direct",
        **kafka_settings(kafka.bootstrap, NAMES),
        "STORE_URL": f"sqlite:///{directory / 'store.db'}",
        "LOG_LEVEL": "warning",
    }
    return TokenstreamProcess(prefixed(settings), "gateway", log=directory / "gateway.log")


async def _measure(
    kafka: LocalKafka, gateway: TokenstreamProcess, readers: WorkerProcess, wanted: ReadersWanted, result: Result
) -> None:
    port = gateway.port
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
    assert NAMES.frames is not None
    writer = FramesWriter(lambda: KafkaConnection(kafka.bootstrap), NAMES.frames)
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


def _sample(gateway: TokenstreamProcess) -> Sample:
    taken = sample(gateway.pid)
    assert taken is not None, "the gateway runs"
    return taken


def _allow_sockets(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
