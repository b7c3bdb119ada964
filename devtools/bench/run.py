"""One run on a stage: a load is produced, relayed, observed and judged. Scenarios differ in what they do meanwhile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec

from devtools.bench.figures import Figures
from devtools.bench.load import Load
from devtools.bench.results import Unsound
from devtools.bench.worker_process import WorkerProcess
from devtools.deployment import LocalDeployment
from devtools.process import TokenstreamProcess
from devtools.usage import Sampler

UNPACED = {"ABLY_CHANNEL_RATE": "0", "ABLY_CONNECTION_RATE": "0", "DIRECT_CHANNEL_RATE": "0"}
"""Settings of a relay that nothing limits."""
PRODUCE = "devtools.bench.produce"
OBSERVE = "devtools.bench.observe"
READY_SECONDS = 60.0
JUDGE_SECONDS = 600.0
CHECK_SECONDS = 0.25


@dataclass(slots=True)
class Run:
    """A load with its producer and its observer, both started and waiting."""

    stage: LocalDeployment
    load: Load
    producer: WorkerProcess
    observer: WorkerProcess

    async def produce(self, within: float = 900.0) -> dict[str, Any]:
        """Produce all of it. When it began and ended, and the number of records."""
        await self.producer.tell({"produce": True})
        return await self.producer.answer(within)

    async def progress(self) -> dict[str, Any]:
        """How many frames and final records have been seen by now."""
        await self.observer.tell({"progress": True})
        return await self.observer.answer(READY_SECONDS)

    async def finished(self, within: float) -> bool:
        """Wait for the final record of every response. Whether all came in time. Raises ChildFailed when a relay ends by itself."""
        await self.observer.tell({"wait": within})
        answering = asyncio.ensure_future(self.observer.answer(within + READY_SECONDS))
        try:
            while not answering.done():
                for relay in self.stage.processes:
                    relay.check()
                await asyncio.wait({answering}, timeout=CHECK_SECONDS)
            return bool(answering.result()["finished"])
        finally:
            answering.cancel()

    async def judge(self, *after: float) -> Figures:
        """Returns the figures. Raises Unsound if anything was lost, repeated, out of order, different from what was
        produced, or unfinished.

        For each of the times `after`, the figures include when the next text arrived.
        """
        await self.observer.tell({"judge": True, "after": after})
        answer = await self.observer.answer(JUDGE_SECONDS)
        if answer["faults"]:
            raise Unsound(self._explain(answer["faults"], answer["verdict"]["details"]))
        return msgspec.convert(answer["figures"], Figures)

    def _explain(self, faults: dict[str, int], examples: list[str]) -> str:
        counts = ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in faults.items())
        tails = [f"The last lines of {relay.name}:\n{relay.tail(5)}" for relay in self.stage.processes]
        return "\n".join([f"The run {self.load.name} gives no figures. {counts}.", *examples[:10], *tails])


@contextlib.asynccontextmanager
async def running(
    stage: LocalDeployment,
    load: Load,
    *,
    timed: bool = False,
    channels_per_connection: int = 200,
    repeats_allowed: bool = False,
    produce: str = PRODUCE,
) -> AsyncIterator[Run]:
    """`timed`: the producer notes when it handed over each record, and so the figures have latencies. `produce` is the producer's module."""
    times = str(stage.directory / f"{load.name}.times") if timed else None
    common = {"bootstrap": stage.kafka.bootstrap, "load": msgspec.to_builtins(load), "times": times}
    producing = {**common, "topic": stage.names.tokens, "partitions": stage.partitions}
    observing = {
        **common,
        "topic": stage.names.responses,
        "endpoint": stage.endpoint,
        "key": stage.key,
        "gateway": stage.gateway,
        "channels_per_connection": channels_per_connection,
        "repeats_allowed": repeats_allowed,
    }
    async with (
        WorkerProcess(produce, producing, stage.directory / "producer.log") as producer,
        WorkerProcess(OBSERVE, observing, stage.directory / "observer.log") as observer,
    ):
        await producer.answer(READY_SECONDS)
        await observer.answer(READY_SECONDS)
        yield Run(stage, load, producer, observer)


@contextlib.asynccontextmanager
async def sampled(stage: LocalDeployment, **others: int) -> AsyncIterator[Sampler]:
    """Memory and processor time of all relays that run now, of the broker, and of the realtime server if there is one."""
    pids = {relay.name: relay.pid for relay in stage.processes}
    pids |= {"kafka": stage.kafka.pid, **others}
    if stage.realtime_server is not None:
        pids["realtime"] = stage.realtime_server.pid
    sampler = Sampler(pids)
    async with asyncio.TaskGroup() as tasks:
        sampling = tasks.create_task(sampler.run())
        try:
            yield sampler
        finally:
            sampler.sample()
            sampling.cancel()


def first_taken_over(relays: list[TokenstreamProcess]) -> float:
    """When the first partition was taken over: from then on records are consumed. The lower bound of a run's time."""
    moments = [moment for relay in relays for moment, _ in relay.moments("partition_taken_over")]
    if not moments:
        raise Unsound("No relay took over a partition.")
    return min(moments)
