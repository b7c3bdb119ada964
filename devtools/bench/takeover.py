"""Takeovers: one of two relays ends, by SIGTERM or by SIGKILL, with many open responses. Measures how long readers
wait.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from devtools.bench.backlog import described
from devtools.bench.live import over_time
from devtools.bench.load import Load
from devtools.bench.results import Result, Unsound
from devtools.bench.run import UNPACED, Run, running
from devtools.deployment import LocalDeployment, names_after, on_broker
from devtools.kafka import LocalKafka
from devtools.process import TokenstreamProcess


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeover:
    """`after` seconds of production one relay goes, killed or not. `session` is the group's session timeout, in seconds."""

    load: Load
    title: str
    killed: bool
    partitions: int = 1
    after: float = 5.0
    session: float = 10.0
    within: float = 120.0


async def run_takeover(kafka: LocalKafka, directory: Path, takeover: Takeover) -> Result:
    load = takeover.load
    settings = {**UNPACED, "KAFKA_SESSION_TIMEOUT": f"{takeover.session:g}"}
    names = names_after(load.name)
    async with on_broker(kafka, directory, names, partitions=takeover.partitions, settings=settings) as stage:
        await _start_both(stage)
        owner = _owner(stage)
        successor = next(relay for relay in stage.processes if relay is not owner)
        async with running(stage, load, repeats_allowed=takeover.killed) as run:
            gone, open_then = await _lose(run, owner, takeover)
            assigned, taken_over = _handed_over(successor, gone, takeover.partitions)
            seen = await run.judge(assigned)
    result = Result(scenario=load.name, title=takeover.title, load=described(load), seed=load.seed)
    result.add("tokens", seen.tokens)
    result.add("responses open then", open_then)
    result.add("session timeout", takeover.session, "s")
    result.add("gone until assigned", assigned - gone, "s")
    result.add("assigned until taken over", taken_over - assigned, "s")
    result.add("assigned until its first token", seen.resumed[0] - assigned, "s")
    result.add("longest time without a token", seen.stall, "s")
    result.add("longest time one response had none", seen.response_stall, "s")
    result.add("sequence numbers repeated", seen.repeated)
    zero = seen.first_frame
    result.series = [over_time(seen, zero)]
    how = "killed" if takeover.killed else "stopped"
    result.marks = [(how, gone - zero), ("taken over", taken_over - zero)]
    return result


async def _start_both(stage: LocalDeployment) -> None:
    """One after the other, so that the first owns what sticks to it."""
    for _ in range(2):
        relay = stage.new()
        await relay.start()
        await relay.ready()


def _owner(stage: LocalDeployment) -> TokenstreamProcess:
    """Who took over last."""
    taken = [
        (max(moment for moment, _ in found), relay)
        for relay in stage.processes
        if (found := relay.moments("partition_taken_over"))
    ]
    return max(taken, key=lambda pair: pair[0])[1]


async def _lose(run: Run, owner: TokenstreamProcess, takeover: Takeover) -> tuple[float, float]:
    """Produce, and lose the owner meanwhile. When that was, and how many responses were open on it."""
    async with asyncio.TaskGroup() as tasks:
        producing = tasks.create_task(run.produce())
        await asyncio.sleep(takeover.after)
        open_then = (await owner.metrics()).get("tokenstream_open_responses", 0.0)
        gone = time.monotonic()
        if takeover.killed:
            await owner.kill()
        else:
            await owner.stop()
        await producing
    await run.finished(takeover.within)
    return gone, open_then


def _handed_over(successor: TokenstreamProcess, gone: float, partitions: int) -> tuple[float, float]:
    """When the successor was assigned what it had not, and when it had taken all of it over."""
    assigned = [
        moment for moment, entry in successor.moments("partitions_assigned") if moment > gone and entry["partitions"]
    ]
    taken = [moment for moment, _ in successor.moments("partition_taken_over") if moment > gone]
    if not assigned or not taken:
        raise Unsound("The other relay took nothing over.")
    return assigned[0], sorted(taken)[:partitions][-1]
