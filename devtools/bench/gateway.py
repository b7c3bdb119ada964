"""One gateway with many readers: memory of idle ones, and processor and delivery of busy ones. Frames are written to Kafka directly."""

import asyncio
import resource
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import orjson
from rich.console import Console
from rich.table import Table

from devtools.bench.worker_process import WorkerProcess
from devtools.deployment import FRAMES, create_topics, settings_here
from devtools.kafka import LocalKafka
from devtools.process import TokenstreamProcess, prefixed, running
from devtools.usage import Sample, sample
from processor.kafka.frames_writer import FramesWriter
from topics.specs import TopicNames

MIB = 1024 * 1024
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


async def measure(wanted: ReadersWanted) -> dict[str, float]:
    """Raises LocalKafkaFailed, ChildFailed, WorkerFailed."""
    _allow_sockets(wanted.idle + wanted.busy + 1_000)
    with tempfile.TemporaryDirectory(prefix="tokenstream-bench-") as folder:
        directory = Path(folder)
        kafka = LocalKafka(data=directory / "kafka")
        await kafka.start()
        try:
            names = TopicNames(frames=FRAMES)
            await create_topics(kafka.bootstrap, names)
            return await _with_gateway(kafka, directory, wanted)
        finally:
            await kafka.close()


async def _with_gateway(kafka: LocalKafka, directory: Path, wanted: ReadersWanted) -> dict[str, float]:
    settings = {
        **settings_here(),
        "REALTIME": "direct",
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "STORE_URL": f"sqlite:///{directory / 'store.db'}",
        "LOG_LEVEL": "warning",
    }
    process = TokenstreamProcess(prefixed(settings), "gateway", log=directory / "gateway.log")
    async with running(process) as gateway:
        order: Mapping[str, object] = {"open": [], "port": gateway.port}
        async with WorkerProcess("devtools.bench.stream_readers", order, directory / "readers.log") as readers:
            await readers.answer(READY_SECONDS)
            return await _measure(kafka, gateway, readers, gateway.port, wanted)


async def _measure(
    kafka: LocalKafka, gateway: TokenstreamProcess, readers: WorkerProcess, port: int, wanted: ReadersWanted
) -> dict[str, float]:
    figures: dict[str, float] = {}
    empty = _sample(gateway)
    idle = await _opened(readers, port, [f"idle:{number}" for number in range(wanted.idle)])
    figures["seconds to connect the idle readers"] = idle
    await asyncio.sleep(2)
    resting = _sample(gateway)
    figures["memory without readers, MiB"] = empty.rss / MIB
    figures["memory with idle readers, MiB"] = resting.rss / MIB
    figures["memory of an idle reader, KiB"] = (resting.rss - empty.rss) / 1024 / max(1, wanted.idle)
    await _opened(readers, port, [f"busy:{number % wanted.channels}" for number in range(wanted.busy)])
    before = _sample(gateway)
    written = await _write(kafka, wanted)
    await asyncio.sleep(1)
    after = _sample(gateway)
    await readers.tell({})
    seen = await readers.answer(READY_SECONDS)
    figures["memory with busy readers, MiB"] = after.rss / MIB
    figures["processor, % of a core"] = 100 * (after.cpu - before.cpu) / (after.at - before.at)
    figures["frames written"] = written
    figures["events received"] = seen["events"]
    figures["connections lost"] = seen["lost"]
    for name in ("p50", "p99", "max"):
        figures[f"from record to reader, {name}, ms"] = 1_000 * (seen[name] or 0.0)
    return figures


async def _opened(readers: WorkerProcess, port: int, channels: list[str]) -> float:
    paths = [f"/v1/channels/{quote(channel, safe='')}/events?limit=0" for channel in channels]
    await readers.tell({"open": paths, "port": port})
    return float((await readers.answer(OPEN_SECONDS))["seconds"])


async def _write(kafka: LocalKafka, wanted: ReadersWanted) -> int:
    """Writes frames to all channels at the pace asked for; returns how many."""
    writer = FramesWriter(lambda: {"bootstrap_servers": kafka.bootstrap}, FRAMES)
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


def show(figures: Mapping[str, float], console: Console) -> None:
    table = Table(title="One gateway")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.1f}")
    console.print(table)
