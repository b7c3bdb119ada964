"""The same load through Centrifugo and through the relay, one after the other on one broker: speed, delay, cost, and what a kill loses."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from devtools.bench.backlog import MIB, described
from devtools.bench.centrifugo import Centrifugo
from devtools.bench.load import Load
from devtools.bench.peer_observe import Delivered
from devtools.bench.results import Result, Unsound
from devtools.bench.run import READY_SECONDS, UNPACED, Run, first_taken_over, running, sampled
from devtools.bench.worker_process import WorkerProcess
from devtools.deployment import LocalDeployment, names_after, on_broker
from devtools.kafka import LocalKafka
from devtools.usage import Sampler

PRODUCE = "devtools.bench.peer_produce"
OBSERVE = "devtools.bench.peer_observe"
WITHIN = 120.0
"""Seconds for what is still to come: a consumer that comes back after a kill waits for its predecessor's session to end."""
KILL_AFTER = 3.0
BACK_AFTER = 1.0
PARTITIONS = 12
MS = 1_000
RATES = (500.0, 2_000.0)
KILLED_RATE = 1_000.0
OPEN = 100
SHOWN = 4
"""Problems that an error names."""
OURS, PEER = "tokenstream", "centrifugo"


@dataclass(frozen=True, slots=True)
class Measured:
    """One program under one load. `cpu` is in seconds, 0 where a kill ended the process; `rss` in bytes, latencies in seconds."""

    tokens: int
    seconds: float
    cpu: float
    rss: int
    p50: float = 0.0
    p99: float = 0.0
    first_p99: float = 0.0
    lost: int = 0
    repeated: int = 0
    reordered: int = 0
    stall: float = 0.0
    """The longest time in which no token came, of any response."""


class PeerRun:
    """Centrifugo on topics of its own, with a producer and subscribers that wait for it."""

    def __init__(self, stage: LocalDeployment, load: Load) -> None:
        self.stage = stage
        self.load = load
        self.times = stage.directory / f"{load.name}.times"
        self.peer = Centrifugo(stage.directory, stage.kafka.bootstrap, stage.names.tokens)
        self._told: dict[str, Any] = {"load": msgspec.to_builtins(load), "times": str(self.times)}

    @contextlib.asynccontextmanager
    async def producer(self) -> AsyncIterator[WorkerProcess]:
        where = {"bootstrap": self.stage.kafka.bootstrap, "topic": self.stage.names.tokens}
        order = {**self._told, **where, "partitions": self.stage.partitions}
        async with WorkerProcess(PRODUCE, order, self.stage.directory / "producer.log") as producer:
            await producer.answer(READY_SECONDS)
            yield producer

    @contextlib.asynccontextmanager
    async def subscribed(self) -> AsyncIterator[WorkerProcess]:
        """Centrifugo runs, and subscribers have subscribed."""
        await self.peer.child.start()
        try:
            order = {**self._told, "endpoint": self.peer.endpoint}
            async with WorkerProcess(OBSERVE, order, self.stage.directory / "observer.log") as observer:
                await observer.answer(READY_SECONDS)
                yield observer
        finally:
            await self.peer.child.kill()

    def sampler(self) -> Sampler:
        return Sampler({PEER: self.peer.child.pid})


@contextlib.asynccontextmanager
async def _sampling(sampler: Sampler) -> AsyncIterator[None]:
    sampler.sample()
    async with asyncio.TaskGroup() as tasks:
        sampling = tasks.create_task(sampler.run())
        try:
            yield
        finally:
            sampler.sample()
            sampling.cancel()


def used(sampler: Sampler, name: str, since: float, first: float, last: float) -> float:
    """Returns the seconds of processor time since `since`, for a run whose tokens came from `first` to `last`.

    Raises Unsound where the samples do not span these moments, or show no work.
    """
    taken = sampler.samples[name]
    if not taken or taken[0].at > first:
        raise Unsound(f"{name} gives no figures: its first token came before its processor time was first sampled.")
    if taken[-1].at < last:
        raise Unsound(f"{name} gives no figures: its process ended before its last token came.")
    seconds = sampler.cpu(name, since)
    if seconds <= 0.0:
        raise Unsound(f"{name} gives no figures: its samples show no processor time for the tokens that came.")
    return seconds


# The peer


async def peer_backlog(stage: LocalDeployment, load: Load) -> Measured:
    """Centrifugo is stopped by a signal, with its subscribers connected, until the backlog is complete.

    So it has read nothing before. Its time begins with the first token that a subscriber got.
    """
    run = PeerRun(stage, load)
    async with run.producer() as producer, run.subscribed() as observer:
        run.peer.child.signal(signal.SIGSTOP)
        await producer.tell({"produce": True})
        await producer.answer(WITHIN)
        sampler = run.sampler()
        async with _sampling(sampler):
            run.peer.child.signal(signal.SIGCONT)
            await observer.tell({"within": WITHIN})
            seen = await _delivered(observer)
    return measured(load, seen, sampler, 0.0, seen.first)


async def peer_pace(stage: LocalDeployment, load: Load, *, killed: bool = False) -> Measured:
    run = PeerRun(stage, load)
    async with run.producer() as producer, run.subscribed() as observer:
        sampler = run.sampler()
        async with _sampling(sampler):
            began = time.monotonic()
            await producer.tell({"produce": True})
            if killed:
                await asyncio.sleep(KILL_AFTER)
                await run.peer.child.kill()
                await asyncio.sleep(BACK_AFTER)
                await run.peer.child.start()
            await producer.answer(WITHIN)
            await observer.tell({"within": WITHIN if killed else 10.0})
            seen = await _delivered(observer)
    return measured(load, seen, sampler, began, began, killed=killed)


async def _delivered(observer: WorkerProcess) -> Delivered:
    return msgspec.convert(await observer.answer(2 * WITHIN), Delivered)


def measured(
    load: Load, seen: Delivered, sampler: Sampler, since: float, began: float, *, killed: bool = False
) -> Measured:
    """Returns what the peer did, as its subscribers saw it. Raises Unsound where that is no measurement."""
    if not killed and (faults := faults_of(seen)):
        raise Unsound(f"{PEER} gives no figures of {load.name}: " + "; ".join(faults) + ".")
    latency, first = seen.latency, seen.first_token
    return Measured(
        tokens=seen.tokens,
        seconds=seen.last - began,
        cpu=0.0 if killed else used(sampler, PEER, since, seen.first, seen.last),
        rss=max(sample.rss for sample in sampler.samples[PEER]),
        p50=latency.p50 if latency is not None else 0.0,
        p99=latency.p99 if latency is not None else 0.0,
        first_p99=first.p99 if first is not None else 0.0,
        lost=seen.lost,
        repeated=seen.repeated,
        reordered=seen.reordered,
        stall=seen.stall,
    )


def faults_of(seen: Delivered) -> list[str]:
    """Returns what makes a run without a kill no measurement: only a kill may lose or repeat a token, or make readers recover."""
    faults = [] if seen.complete else ["the observer stopped waiting before every record came"]
    if seen.lost:
        faults.append(f"{seen.lost:,} of {seen.tokens + seen.lost:,} tokens were lost")
    if seen.kept:
        faults.append(f"{seen.kept:,} records had been read before their channel was subscribed to")
    if seen.repeated:
        faults.append(f"{seen.repeated:,} tokens came repeatedly")
    return faults + seen.problems[:SHOWN]


# Ours


async def our_backlog(stage: LocalDeployment, load: Load) -> Measured:
    async with running(stage, load, timed=True, produce=PRODUCE) as run:
        await run.produce()
        await stage.new().start()
        async with sampled(stage) as sampler:
            await run.finished(WITHIN)
        return await _ours(run, sampler, 0.0, first_taken_over(stage.processes))


async def our_pace(stage: LocalDeployment, load: Load, *, killed: bool = False) -> Measured:
    relay = stage.new()
    await relay.start()
    await relay.ready()
    async with running(stage, load, timed=True, repeats_allowed=killed, produce=PRODUCE) as run:
        async with sampled(stage) as sampler, asyncio.TaskGroup() as tasks:
            began = time.monotonic()
            producing = tasks.create_task(run.produce())
            if killed:
                await asyncio.sleep(KILL_AFTER)
                await relay.kill()
                await asyncio.sleep(BACK_AFTER)
                await stage.new().start()
            await producing
            await run.finished(WITHIN)
        return await _ours(run, sampler, began, began, killed=killed)


async def _ours(run: Run, sampler: Sampler, since: float, began: float, *, killed: bool = False) -> Measured:
    """Raises Unsound where a token was lost or out of order, so that both are 0 in what it returns."""
    seen = await run.judge()
    name = run.stage.processes[0].name
    latency, first = seen.latency, seen.first_token
    return Measured(
        tokens=seen.tokens,
        seconds=seen.last_frame - began,
        cpu=0.0 if killed else used(sampler, name, since, seen.first_frame, seen.last_frame),
        rss=max(sample.rss for sample in sampler.samples[name]),
        p50=latency.p50 if latency is not None else 0.0,
        p99=latency.p99 if latency is not None else 0.0,
        first_p99=first.p99 if first is not None else 0.0,
        repeated=seen.repeated,
        stall=seen.stall,
    )


# Beside each other


async def run_peers(kafka: LocalKafka, directory: Path, seed: int, seconds: float) -> Result:
    """`seconds` is how long each paced load lasts."""
    backlog = Load(name="peers-backlog", responses=300, channels=300, seed=seed)
    result = Result(scenario="peers", title="Centrifugo beside the relay", load=described(backlog), seed=seed)
    result.add("load average of the machine before", os.getloadavg()[0])
    _add_backlog(result, *[await measure(kafka, directory, who, backlog) for who in (OURS, PEER)])
    for rate in RATES:
        load = _paced(f"peers-{rate:g}", rate, seconds, seed)
        _add_pace(result, rate, *[await measure(kafka, directory, who, load) for who in (OURS, PEER)])
    load = _paced("peers-killed", KILLED_RATE, 2 * KILL_AFTER, seed)
    _add_killed(result, *[await measure(kafka, directory, who, load, killed=True) for who in (OURS, PEER)])
    return result


def _paced(name: str, rate: float, seconds: float, seed: int) -> Load:
    tokens = max(10, int(rate * seconds / OPEN))
    return Load(name=name, responses=OPEN, tokens=tokens, open=OPEN, channels=OPEN, seed=seed, tokens_per_second=rate)


async def measure(kafka: LocalKafka, directory: Path, who: str, load: Load, *, killed: bool = False) -> Measured:
    """One of both under the load, on topics and with subscribers of its own."""
    mine = msgspec.structs.replace(load, name=f"{load.name}-{who}")
    async with on_broker(
        kafka, directory / mine.name, names_after(mine.name), partitions=PARTITIONS, settings=UNPACED
    ) as stage:
        if not mine.tokens_per_second:
            return await (our_backlog if who == OURS else peer_backlog)(stage, mine)
        return await (our_pace if who == OURS else peer_pace)(stage, mine, killed=killed)


def _add_backlog(result: Result, ours: Measured, peer: Measured) -> None:
    for name, each in ((OURS, ours), (PEER, peer)):
        result.add(f"backlog, {name}", each.tokens / each.seconds, "tokens/s")
        result.add(f"backlog, {name}, processor time", each.cpu, "s")
        result.add(f"backlog, {name}, largest memory", each.rss / MIB, "MiB")
        _add_order(result, f"backlog, {name}", each)


def _add_pace(result: Result, rate: float, ours: Measured, peer: Measured) -> None:
    for name, each in ((OURS, ours), (PEER, peer)):
        at = f"{rate:,.0f} tokens/s, {name}"
        result.add(f"{at}, latency, p50", each.p50 * MS, "ms")
        result.add(f"{at}, latency, p99", each.p99 * MS, "ms")
        result.add(f"{at}, first token, p99", each.first_p99 * MS, "ms")
        result.add(f"{at}, processor", 100 * each.cpu / each.seconds, "%")
        _add_order(result, at, each)


def _add_killed(result: Result, ours: Measured, peer: Measured) -> None:
    for name, each in ((OURS, ours), (PEER, peer)):
        _add_order(result, f"killed, {name}", each)
        result.add(f"killed, {name}, tokens repeated", each.repeated)
        result.add(f"killed, {name}, longest time without a token", each.stall, "s")


def _add_order(result: Result, at: str, each: Measured) -> None:
    result.add(f"{at}, tokens lost", each.lost)
    result.add(f"{at}, tokens out of order", each.reordered)
