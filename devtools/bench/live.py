"""Live loads: the relay runs, and tokens arrive at a rate. Measures their latency."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from devtools.bench.backlog import MIB, described
from devtools.bench.figures import Figures
from devtools.bench.load import Load
from devtools.bench.results import Result, Series
from devtools.bench.run import UNPACED, running, sampled
from devtools.deployment import LocalDeployment, names_after, on_broker
from devtools.kafka import LocalKafka

FAILURES = "tokenstream_publish_failures_total"
MS = 1000
WARM_TOKENS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """`role` is the role of the relay's process; `within` bounds the time after the last produced token, in seconds."""

    load: Load
    title: str
    role: str = "relay"
    partitions: int = 12
    relays: int = 1
    within: float = 60.0
    settings: Mapping[str, str] = field(default_factory=lambda: UNPACED)
    realtime_options: tuple[str, ...] = ()
    channels_per_connection: int = 200
    gateway: bool = False
    """Frames go to a topic, and are read from a gateway."""


@contextlib.asynccontextmanager
async def live_stage(kafka: LocalKafka, directory: Path, live: Live) -> AsyncIterator[LocalDeployment]:
    """With its relays ready and, where the load has a pace, its channels used before: connections are open."""
    async with on_broker(
        kafka,
        directory,
        names_after(live.load.name, frames=live.gateway),
        partitions=live.partitions,
        settings=live.settings,
        realtime_options=live.realtime_options,
        direct=live.gateway,
    ) as stage:
        for _ in range(live.relays):
            await stage.new(live.role).start()
        for relay in stage.processes:
            await relay.ready()
        if live.gateway:
            await stage.start_gateway()
        if live.load.tokens_per_second:
            await _warm_up(stage, live)
        yield stage


async def _warm_up(stage: LocalDeployment, live: Live) -> None:
    load = live.load
    changes = {"name": f"{load.name}-warm", "on": load.on or load.name, "tokens": WARM_TOKENS, "tokens_per_second": 0.0}
    warm = msgspec.structs.replace(load, **changes, responses=len(load.all_channels()))
    async with running(stage, warm, channels_per_connection=live.channels_per_connection) as run:
        await run.produce()
        await run.finished(live.within)
        await run.judge()


async def run_live(stage: LocalDeployment, live: Live) -> tuple[Result, Figures]:
    """On a stage whose relays are ready."""
    load = live.load
    refused = sum([(await relay.metrics()).get(FAILURES, 0.0) for relay in stage.processes])
    async with (
        running(stage, load, timed=True, channels_per_connection=live.channels_per_connection) as run,
        sampled(stage, observer=run.observer.pid) as sampler,
    ):
        produced = await run.produce()
        await run.finished(live.within)
        seen = await run.judge()
    refused = sum([(await relay.metrics()).get(FAILURES, 0.0) for relay in stage.processes]) - refused
    result = Result(scenario=load.name, title=live.title, load=described(load), seed=load.seed)
    began = produced["began"]
    seconds = max(seen.last_frame, produced["ended"]) - began
    result.add("tokens", seen.tokens)
    result.add("tokens a second", seen.tokens / seconds, "tokens/s")
    add_latencies(result, seen)
    result.add("tokens per frame", seen.tokens_per_frame)
    result.add("messages a second", seen.frames / (seen.last_frame - seen.first_frame or 1.0), "messages/s")
    result.add("publishes refused", refused)
    for role in dict.fromkeys(relay.role for relay in stage.processes):
        cpu = sum(sampler.cpu(relay.name, began) for relay in stage.processes if relay.role == role)
        result.add(f"{'gateway' if role == 'gateway' else 'relay'} processor", 100 * cpu / seconds, "%")
    result.add("largest memory", max(s.rss for r in stage.processes for s in sampler.samples[r.name]) / MIB, "MiB")
    result.series = [over_time(seen, began)]
    return result, seen


def add_latencies(result: Result, seen: Figures) -> None:
    for name, spread in (("latency", seen.latency), ("first token", seen.first_token)):
        if spread is not None:
            for share, value in (("p50", spread.p50), ("p99", spread.p99), ("longest", spread.longest)):
                result.add(f"{name}, {share}", value * MS, "ms")


def over_time(seen: Figures, zero: float) -> Series:
    """Tokens a second as subscribers got them, in seconds from `zero`."""
    width = (seen.last_frame - seen.first_frame) / len(seen.line) or 1.0
    shift = seen.first_frame - zero
    return Series("tokens a second", [(shift + width * step, count / width) for step, count in enumerate(seen.line)])
