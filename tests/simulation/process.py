"""A relay process, put together from the product's code as its composition root does, on the world's ports."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from random import Random

from processor.clock import Clock
from processor.core.backoff import Backoff
from processor.core.limits import Limits
from processor.core.sequencer import Verdict
from processor.ports.realtime import RealtimeProfile
from processor.relay.controls import RelayControls
from processor.relay.lanes import LaneParts, Lanes
from processor.relay.parts import WorkerParts
from processor.relay.pool import ConnectionPool, PoolOptions
from processor.relay.relay import Relay, RelayOptions
from processor.relay.worker import PartitionWorker
from processor.telemetry.metrics import Metrics
from simulation.cancels import SimControlsSink, SimControlsSource
from simulation.clients import SimConsumer, SimOffsets, SimResponses, SimWriter
from simulation.coverage import Coverage
from simulation.group import Group
from simulation.log import Brokers
from simulation.loop import Node, VirtualLoop
from simulation.network import Network
from simulation.realtime import Service, sim_provider
from topics.codec import Decoder

DRAIN_TIMEOUT = 3.0
CHANNELS = re.compile("chat:.*")


class SeenCounts:
    """What the relay would show in metrics goes to the coverage instead: many processes share one registry here."""

    def __init__(self, coverage: Coverage) -> None:
        self._coverage = coverage

    def show(self, workers: Mapping[int, PartitionWorker], paused: int, now: float) -> None:
        del paused, now
        for worker in workers.values():
            counts = worker.pipeline.take_counts()
            for count, verdict in (
                (counts.tokens, Verdict.ACCEPTED),
                (counts.held, Verdict.HELD),
                (counts.duplicates, Verdict.DUPLICATE),
            ):
                if count:
                    self._coverage.state(verdict)

    def forget(self, number: int) -> None:
        pass


class Process:
    """One relay. `main` is its task; `stop` ends it as SIGTERM does."""

    def __init__(
        self,
        name: str,
        *,
        coverage: Coverage,
        loop: VirtualLoop,
        brokers: Brokers,
        group: Group,
        service: Service,
        clock: Clock,
        limits: Limits,
        random: Random,
        metrics: Metrics,
    ) -> None:
        self.node = Node(name)
        self.network = Network(loop, random, coverage, brokers)
        self._coverage = coverage
        self._brokers, self._group, self._service = brokers, group, service
        self._clock, self._limits, self._random, self._metrics = clock, limits, random, metrics
        self.relay: Relay | None = None
        self.over = False

    @property
    def alive(self) -> bool:
        return self.node.alive and not self.over

    @property
    def heard(self) -> float:
        return self.consumer.coordination.heard

    @property
    def workers(self) -> list[PartitionWorker]:
        return list(self.relay.workers) if self.relay is not None else []

    async def main(self) -> None:
        provider = sim_provider(self._service, self.node.name, self._clock, self._random)
        pool = ConnectionPool(provider, PoolOptions(), self._metrics, self._clock, self._random)
        async with pool, asyncio.TaskGroup() as tasks:
            self.relay = self._build(provider.profile, pool, tasks)
            await self.relay.run()
        self.over = True

    def _build(self, profile: RealtimeProfile, pool: ConnectionPool, tasks: asyncio.TaskGroup) -> Relay:
        brokers, network = self._brokers, self.network
        lane_parts = LaneParts(
            realtime=pool,
            metrics=self._metrics,
            clock=self._clock,
            random=self._random,
            duplicate_window=profile.duplicate_window,
            backoff=Backoff(first=0.05, cap=2.0),
        )
        self.consumer = SimConsumer(brokers, self._group, network, self._clock)
        parts = WorkerParts(
            consumer=self.consumer,
            committed=SimOffsets(brokers, network),
            responses=SimResponses(brokers, network),
            writer_of=lambda number: SimWriter(brokers, network, number),
            lanes_of=lambda pipeline, may, progressed: Lanes(lane_parts, pipeline, may, progressed, tasks),
            decoder=Decoder(CHANNELS),
            metrics=self._metrics,
            clock=self._clock,
            random=self._random,
            measures=SeenCounts(self._coverage),
            responses_topic="responses",
            dead_letters_topic="dead-letters",
            dead_letter_bytes=1_000_000,
            controls=self._controls(),
        )
        options = RelayOptions(
            credentials=lambda: None,
            check_credentials=lambda: None,
            limits=replace(self._limits, frame_bytes=profile.max_frame_bytes),
            drain_timeout=DRAIN_TIMEOUT,
        )
        return Relay(options, parts, tasks)

    def _controls(self) -> RelayControls:
        random = Random(f"controls {self.node.name}")
        brokers, network, clock = self._brokers, self.network, self._clock
        return RelayControls(
            clock,
            random,
            source=lambda take: SimControlsSource(brokers, network, clock, random, take),
            sink=SimControlsSink(brokers, network, random),
        )

    def fail_client(self) -> None:
        if self.relay is not None:
            self.consumer.fail()

    async def stop(self) -> None:
        if self.relay is not None:
            await self.relay.stop()
