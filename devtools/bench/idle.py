"""Measures an idle relay: seconds until it is ready, memory, processor time, and memory per open response."""

import asyncio
import time
from pathlib import Path

import msgspec

from devtools.bench.backlog import MIB, described
from devtools.bench.load import Load
from devtools.bench.results import Result, Unsound
from devtools.bench.run import PRODUCE, READY_SECONDS, UNPACED
from devtools.bench.worker_process import WorkerProcess
from devtools.deployment import LocalDeployment, names_after, on_broker
from devtools.kafka import LocalKafka
from devtools.process import TokenstreamProcess
from devtools.usage import Sample, sample

WARM_UP = 2.0
IDLE_SECONDS = 10.0
OPEN_DEADLINE = 180.0
POLL = 0.25
READY_POLL = 0.02
STEPS = 5
"""The number of steps in which the responses are opened.

The memory of one is the slope after the first step: the temporary memory of opening that many at once is then already
allocated, and reused.
"""


async def run_idle(kafka: LocalKafka, directory: Path, load: Load, seconds: float = IDLE_SECONDS) -> Result:
    """`load` must leave its responses open."""
    step = max(1, load.responses // STEPS)
    result = Result(scenario=load.name, title="An idle relay", load=described(load), seed=load.seed)
    names = names_after(load.name)
    async with on_broker(kafka, directory, names, partitions=12, settings=UNPACED) as stage:
        relay = stage.new()
        await relay.start()
        await relay.ready(every=READY_POLL)
        result.add("start until ready", relay.ready_at - relay.started_at, "s")
        await asyncio.sleep(WARM_UP)
        before = _sample(relay)
        await asyncio.sleep(seconds)
        after = _sample(relay)
        result.add("memory, idle", after.rss / MIB, "MiB")
        result.add("processor, idle", 100 * (after.cpu - before.cpu) / (after.at - before.at), "%")
        memory = []
        for opened in range(STEPS):
            part = msgspec.structs.replace(load, name=f"{load.name}-{opened}", responses=step)
            memory.append((await _open(stage, relay, part, (opened + 1) * step)).rss)
    each = (memory[-1] - memory[0]) / (step * (STEPS - 1))
    text = sum(len("".join(load.texts(number))) for number in range(step)) / step
    result.add("open responses", STEPS * step)
    result.add("memory with them", memory[-1] / MIB, "MiB")
    result.add("text of an open response", text, "bytes")
    result.add("memory of an open response", each, "bytes")
    result.add("of that beyond twice its text", each - 2 * text, "bytes")
    return result


def _sample(relay: TokenstreamProcess) -> Sample:
    taken = sample(relay.pid)
    if taken is None:
        raise Unsound("Memory and processor time can't be read: this needs Linux's /proc.")
    return taken


async def _open(stage: LocalDeployment, relay: TokenstreamProcess, load: Load, count: int) -> Sample:
    """Produce, and wait until all are open, published and in a record; the process then."""
    order = {
        "bootstrap": stage.kafka.bootstrap,
        "topic": stage.names.tokens,
        "partitions": stage.partitions,
        "load": msgspec.to_builtins(load),
    }
    async with WorkerProcess(PRODUCE, order, stage.directory / "producer.log") as producer:
        await producer.answer(READY_SECONDS)
        await producer.tell({"produce": True})
        await producer.answer(OPEN_DEADLINE)
    deadline = time.monotonic() + OPEN_DEADLINE
    while time.monotonic() < deadline:
        metrics = await relay.metrics()
        if metrics.get("tokenstream_open_responses") == count and metrics.get("tokenstream_buffered_bytes") == 0:
            await asyncio.sleep(WARM_UP)
            return _sample(relay)
        await asyncio.sleep(POLL)
    raise Unsound(f"{count} responses were not open and published in {OPEN_DEADLINE:g} s.")
