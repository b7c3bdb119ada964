"""A relay process, put together from the product's code as its composition root does, on the world's ports."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from processor.ably.ably import AblyOptions, Connection
from processor.ably.history import ChannelHistory
from processor.clock import Clock
from processor.core.backoff import Backoff
from processor.core.framer import Frame
from processor.core.intake import Intake
from processor.core.limits import Limits
from processor.core.pacing import Pace
from processor.core.partition import PartitionPipeline
from processor.core.response import Raw, Response
from processor.core.sequencer import Verdict
from processor.core.timers import Timers
from processor.errors import PublishRetry
from processor.ports.realtime import Realtime
from processor.relay.lanes import LaneParts, Lanes
from processor.relay.parts import WorkerParts
from processor.relay.pool import ConnectionPool, PoolOptions, RatePace
from processor.relay.relay import Relay, RelayOptions
from processor.relay.worker import PartitionWorker, WorkerState
from processor.telemetry.metrics import Metrics
from simulation.archive import SimArchive, SimStore
from simulation.clients import Network, SimConsumer, SimOffsets, SimResponses, SimWriter
from simulation.coverage import Coverage
from simulation.group import Group
from simulation.log import Brokers
from simulation.loop import Node, VirtualLoop
from simulation.realtime import Service, SimClient
from topics.codec import Decoder, TokenRecord
from topics.records import Reason

DRAIN_TIMEOUT = 3.0
CHANNELS = re.compile("chat:.*")


class SeenIntake(Intake):
    """The product's intake, counting what it comes to."""

    coverage: Coverage

    def _settle(self, verdict: Verdict | Reason, raw: Raw) -> None:
        if isinstance(verdict, Verdict):
            self.coverage.state(verdict)
        super()._settle(verdict, raw)

    def _accept(self, response: Response, record: TokenRecord, raw: Raw) -> None:
        self.coverage.state(Verdict.ACCEPTED)
        super()._accept(response, record, raw)

    def _hold(self, response: Response, record: TokenRecord, raw: Raw, now: float) -> None:
        self.coverage.state(Verdict.HELD)
        self.coverage.state(response.phase)
        super()._hold(response, record, raw, now)


class SeenPipeline(PartitionPipeline):
    """The product's pipeline around it."""

    intake: type[SeenIntake] = SeenIntake
    timers: type[Timers] = Timers

    def __init__(self, decoder: Decoder, limits: Limits) -> None:
        super().__init__(decoder, limits)
        self._timers = self.timers()
        self._intake = self.intake(decoder, limits, self._book, self._outflow, self._timers)
        self._open = self._intake.open

    def watch(self, coverage: Coverage) -> None:
        assert isinstance(self._intake, SeenIntake)
        self.coverage = coverage
        self._intake.coverage = coverage


class SeenWorker(PartitionWorker):
    """The product's worker, with what a test puts in its place."""

    kit: "Kit"
    unclean: Callable[[], None]

    def _new_pipeline(self, limits: Limits) -> PartitionPipeline:
        pipeline = self.kit.pipeline(self._parts.decoder, limits)
        pipeline.watch(self.kit.coverage)
        return pipeline

    def _may_publish(self) -> bool:
        may = super()._may_publish()
        if self.running and not may:
            self.kit.coverage.fault("lease_over")
        return may

    async def drain(self, within: float) -> bool:
        was_running = self.running
        if was_running:
            self.kit.coverage.state(WorkerState.DRAINING)
        landed = await super().drain(within)
        if was_running and not landed:
            self.unclean()
        return landed


class SeenLanes(Lanes):
    """The product's lanes."""

    async def _in_history(self, frame: Frame) -> bool:
        assert isinstance(self._pipeline, SeenPipeline)
        self._pipeline.coverage.fault("retry_after_the_id_window")
        return await super()._in_history(frame)


class SimConnection(Connection):
    """The product's connection on the world's SDK."""

    service: Service
    sender: str

    async def _new_client(self, options: dict[str, Any]) -> Any:
        del options
        return SimClient(self.service, self.sender)


class SimPool(ConnectionPool):
    def __init__(
        self, kit: "Kit", service: Service, sender: str, metrics: Metrics, clock: Clock, random: Random
    ) -> None:
        options = AblyOptions(key=lambda: "key", client_id="tokenstream")
        super().__init__(options, PoolOptions(), metrics, clock, random)
        self._kit = kit
        self._service = service
        self._sender = sender

    def _new_connection(self, pace: Pace) -> Connection:
        connection = self._kit.connection(self._ably, pace, self._random, self._show_states)
        connection.service, connection.sender = self._service, self._sender
        return connection

    async def history(self, channel: str, within: float) -> ChannelHistory:
        await asyncio.sleep(self._random.uniform(0.01, 0.3))
        if self._service.trouble.away:
            await asyncio.sleep(within)
            raise PublishRetry("the history of a channel could not be read")
        return self._service.history(channel)

    def _show_states(self) -> None:
        pass  # many processes share one registry here

    def _show_paces(self, scope: str, paces: Sequence[RatePace]) -> None:
        pass  # metrics cost time, and nothing here reads them


@dataclass(frozen=True, kw_only=True)
class Kit:
    """The product's classes, or what a planted bug puts in their place."""

    coverage: Coverage
    pipeline: type[SeenPipeline] = SeenPipeline
    worker: type[SeenWorker] = SeenWorker
    relay: "type[SimRelay] | None" = None
    """None is the product's own."""
    lanes: type[SeenLanes] = SeenLanes
    connection: type[SimConnection] = SimConnection
    writer: type[SimWriter] = SimWriter
    archive: type[SimArchive] = SimArchive
    store: type[SimStore] = SimStore


class SimRelay(Relay):
    kit: Kit
    world_writer: Callable[[int], SimWriter]
    unclean: Callable[[], None]

    def _new_worker(self, number: int, limits: Limits) -> PartitionWorker:
        worker = self.kit.worker.__new__(self.kit.worker)
        worker.kit, worker.unclean = self.kit, self.unclean
        worker.__init__(number, self._parts, self.world_writer(number), limits)  # type: ignore[misc]
        return worker

    def _measure(self) -> None:
        pass  # metrics cost time, and nothing here reads them


class Process:
    """One relay. `main` is its task; `stop` ends it as SIGTERM does."""

    def __init__(
        self,
        name: str,
        kit: Kit,
        *,
        loop: VirtualLoop,
        brokers: Brokers,
        group: Group,
        service: Service,
        clock: Clock,
        limits: Limits,
        random: Random,
        metrics: Metrics,
        unclean: Callable[[], None],
    ) -> None:
        self.node = Node(name)
        self.network = Network(loop, random, kit.coverage, brokers)
        self._kit = kit
        self._brokers, self._group, self._service = brokers, group, service
        self._clock, self._limits, self._random, self._metrics = clock, limits, random, metrics
        self._unclean = unclean
        self.relay: SimRelay | None = None
        self.over = False

    @property
    def alive(self) -> bool:
        return self.node.alive and not self.over

    @property
    def heard(self) -> float:
        return self.consumer.coordination.heard

    @property
    def workers(self) -> Mapping[int, PartitionWorker]:
        return self.relay._workers if self.relay is not None else {}

    async def main(self) -> None:
        pool = SimPool(self._kit, self._service, self.node.name, self._metrics, self._clock, self._random)
        async with pool, asyncio.TaskGroup() as tasks:
            self.relay = self._build(pool, tasks)
            await self.relay.run()
        self.over = True

    def _build(self, pool: Realtime, tasks: asyncio.TaskGroup) -> SimRelay:
        brokers, network = self._brokers, self.network
        lane_parts = LaneParts(
            realtime=pool,
            metrics=self._metrics,
            clock=self._clock,
            random=self._random,
            backoff=Backoff(first=0.05, cap=2.0),
        )
        lanes = self._kit.lanes
        self.consumer = SimConsumer(brokers, self._group, network, self._clock)
        parts = WorkerParts(
            consumer=self.consumer,
            committed=SimOffsets(brokers, network),
            responses=SimResponses(brokers, network),
            lanes_of=lambda pipeline, may, progressed: lanes(lane_parts, pipeline, may, progressed, tasks),
            decoder=Decoder(CHANNELS),
            metrics=self._metrics,
            clock=self._clock,
            random=self._random,
            responses_topic="responses",
            dead_letters_topic="dead-letters",
            dead_letter_bytes=1_000_000,
        )
        options = RelayOptions(
            client=dict,
            credentials=lambda: None,
            group_id="relay",
            limits=self._limits,
            drain_timeout=DRAIN_TIMEOUT,
            max_record_bytes=1_000_000,
        )
        relay = (self._kit.relay or SimRelay)(options, parts, tasks)
        relay.kit, relay.unclean = self._kit, self._unclean
        relay.world_writer = lambda number: self._kit.writer(brokers, network, number)
        return relay

    async def stop(self) -> None:
        if self.relay is not None:
            await self.relay.stop()
