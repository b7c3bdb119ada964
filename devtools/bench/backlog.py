"""Backlogs: everything is in Kafka before the relay starts, and nothing limits its rate. Measures the highest
throughput.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from devtools.bench.against import run_against
from devtools.bench.figures import Figures
from devtools.bench.load import Load
from devtools.bench.results import Result, Series
from devtools.bench.run import UNPACED, first_taken_over, running, sampled
from devtools.deployment import LocalDeployment, names_after, on_broker
from devtools.kafka import LocalKafka
from devtools.usage import Sampler

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """`within` bounds the run, in seconds."""

    load: Load
    title: str
    relays: int = 1
    partitions: int = 12
    within: float = 300.0
    settings: Mapping[str, str] = field(default_factory=lambda: UNPACED)
    realtime_options: tuple[str, ...] = ()
    against: float = 0.0
    """Seconds that a plain program gets of the same backlog; 0 compares with none."""


async def run_backlog(kafka: LocalKafka, directory: Path, backlog: Backlog) -> list[Result]:
    """Time from the first partition taken over to the last committed final record, as a reader saw it."""
    load = backlog.load
    async with (
        on_broker(
            kafka,
            directory,
            names_after(load.name),
            partitions=backlog.partitions,
            settings=backlog.settings,
            realtime_options=backlog.realtime_options,
        ) as stage,
        running(stage, load) as run,
    ):
        produced = await run.produce()
        relays = [stage.new() for _ in range(backlog.relays)]
        for relay in relays:
            await relay.start()
        async with sampled(stage, observer=run.observer.pid) as sampler:
            await run.finished(backlog.within)
        seen = await run.judge()
        began = first_taken_over(relays)
        result = _result(backlog, stage, seen, sampler, began)
        result.add(
            "records produced a second", produced["records"] / (produced["ended"] - produced["began"]), "records/s"
        )
        if not backlog.against:
            return [result]
        for relay in relays:
            await relay.kill()
        return [result, await run_against(stage, result, produced["records"], backlog.against)]


def _result(backlog: Backlog, stage: LocalDeployment, seen: Figures, sampler: Sampler, began: float) -> Result:
    load, relays = backlog.load, stage.processes
    seconds = seen.last_final - began
    cpu = sum(sampler.cpu(relay.name, began) for relay in relays)
    result = Result(scenario=load.name, title=backlog.title, load=described(load), seed=load.seed)
    result.add("tokens", seen.tokens)
    result.add("tokens a second", seen.tokens / seconds, "tokens/s")
    result.add("messages a second", seen.frames / seconds, "messages/s")
    result.add("tokens per frame", seen.tokens_per_frame)
    result.add("seconds", seconds, "s")
    result.add("relay processor time", cpu, "s")
    result.add("tokens per processor second", seen.tokens / cpu if cpu else 0.0, "tokens/s")
    for name in ("realtime", "kafka", "observer"):
        result.add(f"{name} processor time", sampler.cpu(name, began), "s")
    result.add("largest memory", max(s.rss for relay in relays for s in sampler.samples[relay.name]) / MIB, "MiB")
    half = len(seen.line) // 2
    result.add("second half against the first", sum(seen.line[half:]) / max(1, sum(seen.line[:half])), "x")
    width = (seen.last_frame - seen.first_frame) / len(seen.line) or 1.0
    shift = seen.first_frame - began
    rates = [(shift + width * step, count / width) for step, count in enumerate(seen.line)]
    memory = [(s.at - began, s.rss / MIB) for s in sampler.samples[relays[0].name] if s.at >= began - 1.0]
    result.add("memory, second half against the first", _growth([rss for at, rss in memory if at >= 0]), "x")
    result.series = [Series("tokens a second", rates), Series("memory", memory)]
    return result


def _growth(memory: list[float]) -> float:
    """The largest of the second half over the largest of the first: 1 is flat."""
    half = len(memory) // 2
    return max(memory[half:]) / max(memory[:half]) if half else 1.0


def described(load: Load) -> str:
    pace = f", {load.tokens_per_second:,.0f} tokens/s" if load.tokens_per_second else ""
    return (
        f"{load.responses:,} responses of {load.tokens:,} to {int(load.tokens * 1.2):,} tokens, "
        f"{min(load.open, load.responses):,} open at once, on {len(load.all_channels()):,} channels{pace}"
    )
