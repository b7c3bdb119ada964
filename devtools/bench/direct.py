"""The whole path from producer to reader by either transport, in one run: the same load over each in turn, round after round."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import msgspec

from devtools.bench.backlog import described
from devtools.bench.live import Live, live_stage, run_live
from devtools.bench.load import Load
from devtools.bench.results import Result
from devtools.deployment import LocalDeployment
from devtools.kafka import LocalKafka

ABLY = "Ably"
DIRECT = "direct"
ROUNDS = 5
MEASURED = (
    *("latency, p50", "latency, p99", "latency, longest", "first token, p50", "first token, p99"),
    *("tokens a second", "tokens per frame", "messages a second", "relay processor"),
)


@dataclass(frozen=True, slots=True)
class Paths:
    """What is measured by each of the transports, `rounds` times in turn."""

    load: Load
    title: str
    partitions: int = 12
    rounds: int = ROUNDS


async def run_direct(kafka: LocalKafka, directory: Path, paths: Paths) -> Result:
    found: dict[str, list[Result]] = {ABLY: [], DIRECT: []}
    async with _stages(kafka, directory, paths) as stages:
        for turn in range(paths.rounds):
            # Neither is always the first: what the machine does meanwhile must not favour one of them.
            for transport in (ABLY, DIRECT) if turn % 2 == 0 else (DIRECT, ABLY):
                live = _live(paths, transport, f"-{turn}")
                result, _ = await run_live(stages[transport], live)
                found[transport].append(result)
    return _together(paths, found)


@contextlib.asynccontextmanager
async def _stages(kafka: LocalKafka, directory: Path, paths: Paths) -> AsyncIterator[Mapping[str, LocalDeployment]]:
    """Both are up for the whole run, and have used their channels before."""
    async with (
        live_stage(kafka, directory / "ably", _live(paths, ABLY)) as by_ably,
        live_stage(kafka, directory / "direct", _live(paths, DIRECT)) as by_direct,
    ):
        yield {ABLY: by_ably, DIRECT: by_direct}


def _live(paths: Paths, transport: str, turn: str = "") -> Live:
    name = f"{paths.load.name}-{transport.lower()}"
    load = msgspec.structs.replace(paths.load, name=f"{name}{turn}", on=name)
    return Live(load=load, title=paths.title, partitions=paths.partitions, gateway=transport == DIRECT)


def _together(paths: Paths, found: Mapping[str, list[Result]]) -> Result:
    """Of each figure the median of the rounds."""
    title = f"{paths.title}: the median of {paths.rounds} rounds of each"
    load = f"{described(paths.load)}; {paths.rounds} rounds of each, in turn"
    result = Result(scenario=paths.load.name, title=title, load=load, seed=paths.load.seed)
    for name in (*MEASURED, "gateway processor"):
        for transport, results in found.items():
            values = [value for each in results for value in each.values if value.name == name]
            if values:
                result.add(f"{name}, {transport}", median(value.value for value in values), values[0].unit)
    return result
