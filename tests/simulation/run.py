"""One run: a plan carried out in the world it is for, judged all along."""

import asyncio
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from random import Random

import structlog

from processor.clock import Clock
from processor.core.response import Phase
from processor.relay.worker import PartitionWorker, WorkerState
from processor.telemetry.metrics import Metrics
from simulation.archive import ArchiveParts, ArchiveProcess, SimStore
from simulation.cancels import write_control
from simulation.checks import Judge
from simulation.chunks import NO_HEADERS, as_chunk, ids_of_chunks
from simulation.coverage import Coverage
from simulation.faults import Faults
from simulation.group import REBALANCE_TIMEOUT, SESSION_TIMEOUT, Group
from simulation.known import Violation
from simulation.log import Brokers, Fate, Transaction
from simulation.loop import Node, Stuck, VirtualLoop
from simulation.plan import PARTITIONS, Cancel, Plan, Produce
from simulation.process import Process
from simulation.realtime import Service
from topics.controls import ControlEvent, ControlRecord

FINISH_WITHIN = 90.0
"""Virtual seconds after the end of the faults by which everything is finished."""
WATCH_INTERVAL = 0.25
EPOCH = 1_763_860_000.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """`failure` is None for a good run."""

    failure: str | None
    steps: int
    finished_at: float
    where: str = ""


class World:
    def __init__(self, plan: Plan, metrics: Metrics, coverage: Coverage) -> None:
        self.plan = plan
        self.random = Random(f"world {plan.seed}")
        self.loop = VirtualLoop()  # type: ignore[abstract]  # it has what code without I/O asks for
        self.coverage = coverage
        self.wall_offset = 0.0
        self.clock = Clock(
            self.loop.time, since_boot=lambda: self.loop.now, wall=lambda: EPOCH + self.loop.now + self.wall_offset
        )
        self.metrics = metrics
        self.brokers = Brokers(self.loop, PARTITIONS, self.clock.wall_ms)
        self.group = Group(self.loop, self.random, PARTITIONS, SESSION_TIMEOUT, REBALANCE_TIMEOUT)
        self.service = Service(self.loop, self.random, coverage)
        self._chunks = ids_of_chunks(plan)
        self.judge = Judge(plan, self.brokers, self.service, coverage, lambda: self.loop.now)
        self.processes: list[Process] = []
        self.mains: list[asyncio.Task[None]] = []
        self._paused: dict[int, float] = {}
        self.service.sending = self._check_lease
        self.service.leaving = self._check_ended
        self.hydration_random = Random(f"hydration {plan.seed}")
        self._prepare_archive()
        self.unwritten = 0
        """Writes of producers that the brokers do not have yet."""
        self.excused = False
        """Whether something happened after which a repeat as published can't be ruled out."""
        for name in plan.forbidden:
            self.service.channel(name).forbidden = True
        for name in plan.narrow:
            self.service.channel(name).too_large = 1_500

    def excuse(self) -> None:
        self.excused = True

    def heard(self, event: Mapping[str, object]) -> None:
        """What a process logs."""
        match event:
            case {"event": "partition_drained", "clean": clean, "leased": leased}:
                if not clean:
                    self.excuse()
                if leased:
                    self.coverage.state(WorkerState.DRAINING)
            case {"event": "drain_incomplete"}:
                self.excuse()
                self.coverage.state(WorkerState.DRAINING)
            case {"event": "publish_retry_asks_history"}:
                self.coverage.fault("retry_after_the_id_window")

    def _check_lease(self, sender: str) -> None:
        """Who has not been heard of by the group for a session timeout may have been replaced, and must be silent."""
        process = next(each for each in self.processes if each.node.name == sender)
        silent = self.loop.now - process.heard
        if silent >= SESSION_TIMEOUT:
            # Not raised here: the product treats whatever its SDK raises as a broken connection.
            self.loop.fail(Violation(f"{sender} publishes {silent:.2f} s after its last heartbeat"))

    def _check_ended(self, response_id: str, sender: str) -> None:
        ended_at = self.judge.ended_at.get(response_id)
        if (
            ended_at is not None
            and self.loop.now - ended_at > SESSION_TIMEOUT
            and not self.judge.may_begin(response_id)
        ):
            self.loop.fail(Violation(f"{sender} publishes {response_id}, which ended at {ended_at:.2f} s"))

    def _prepare_archive(self) -> None:
        """Its chances are its own, so that the relays' runs do not hang on it."""
        random = Random(f"archive {self.plan.seed}")
        self.archive_group = Group(self.loop, random, PARTITIONS, SESSION_TIMEOUT, REBALANCE_TIMEOUT)
        self.store = SimStore(random, self.coverage)
        self.archives: list[ArchiveProcess] = []
        self._archive_parts = ArchiveParts(
            self.loop,
            self.brokers,
            self.archive_group,
            self.store,
            self.clock,
            self.metrics,
            random,
            self.coverage,
            self.judge.archive.archived,
        )
        self.judge.archive.store = self.store

    def add_archive(self) -> None:
        process = ArchiveProcess(f"archive-{len(self.archives)}", self._archive_parts)
        self.archives.append(process)
        self.mains.append(self.loop.spawn(process.main(), process.node))

    def add_relay(self) -> None:
        process = Process(
            f"relay-{len(self.processes)}",
            coverage=self.coverage,
            loop=self.loop,
            brokers=self.brokers,
            group=self.group,
            service=self.service,
            clock=self.clock,
            limits=self.plan.limits,
            random=self.random,
            metrics=self.metrics,
        )
        self.processes.append(process)
        self.mains.append(self.loop.spawn(process.main(), process.node))

    @property
    def alive(self) -> list[Process]:
        return [process for process in self.processes if process.alive]

    def nodes(self) -> list[Node]:
        return [*(each.node for each in self.processes), *(each.node for each in self.archives)]

    # Producing

    def produce_all(self) -> None:
        open_transactions: dict[int, Transaction] = {}
        for response in self.plan.responses:
            for kind in response.perturbed:
                self.coverage.fault(kind) if kind != "error_stop" else None
            for record in response.records:
                self._write_at(record.at, partial(self._append, record, open_transactions))
        for record in self.plan.wrong_records:
            self.coverage.fault("invalid_record")
            self._write_at(record.at, partial(self._append, record, open_transactions))
        for cancel in self.plan.cancels:
            if cancel.at > 0:
                self._write_at(cancel.at, partial(self._cancel, cancel))
            else:
                self._cancel(cancel)
        for number, transaction in self.plan.transactions.items():
            self._write_at(transaction.at + 1e-6, partial(self._mark, number, transaction.commit, open_transactions))

    def _write_at(self, at: float, write: Callable[[], None]) -> None:
        self.unwritten += 1
        self.loop.outside(at, self.brokers.once_there, partial(self._write, write))

    def _write(self, write: Callable[[], None]) -> None:
        self.unwritten -= 1
        write()

    def _append(self, record: Produce, transactions: dict[int, Transaction]) -> None:
        transaction = transactions.setdefault(record.group, Transaction()) if record.group else None
        log = self.brokers.tokens[record.partition]
        timestamp = self.clock.wall_ms() if record.timestamp is None else record.timestamp
        value, headers = record.value, NO_HEADERS
        if record.truth.response_id in self._chunks and record.truth.wrong is None:
            self.coverage.fault("chunks")
            value, headers = as_chunk(record)
        offset = log.append(value, record.key, timestamp, transaction, headers)
        self.judge.produced.add(record.partition, offset, record.truth)

    def _cancel(self, cancel: Cancel) -> None:
        ago_ms = max(0, int(-1000 * cancel.at))
        at = self.clock.wall_ms() - ago_ms
        write_control(self.brokers, ControlRecord(ControlEvent.CANCEL, cancel.response_id, cancel.channel, at), ago_ms)
        self._note_moment(cancel)

    def _note_moment(self, cancel: Cancel) -> None:
        """Counts what a cancel meets."""
        workers = [worker for process in self.alive for worker in process.workers]
        if any(worker.state is WorkerState.TAKING_OVER for worker in workers):
            self.coverage.fault("cancel_in_takeover")
        known = [worker.pipeline.open_responses.get(cancel.response_id) for worker in workers]
        if any(response is not None and response.gap_since is not None for response in known):
            self.coverage.fault("cancel_in_gap")

    def _mark(self, number: int, commit: bool, transactions: dict[int, Transaction]) -> None:
        transaction = transactions.get(number)
        if transaction is None:
            return
        transaction.fate = Fate.COMMITTED if commit else Fate.ABORTED
        if not commit:
            self.coverage.fault("producer_aborted")
        for log in dict.fromkeys(log for log, _ in transaction.written):
            log.mark()
            log.grow()

    # Running

    async def live(self) -> None:
        self.produce_all()
        for _ in range(self.plan.relays):
            self.add_relay()
        for _ in range(self.plan.archives):
            self.add_archive()
        self.loop.spawn(self._watch())
        faults = Faults(self)
        faults.schedule()
        await asyncio.sleep(self.plan.calm_from + 1)
        faults.heal()
        until = self.loop.now + FINISH_WITHIN
        while (waits := self._settled()) is not None:
            self._check_mains()
            if self.loop.now >= until:
                raise Violation(f"not finished {FINISH_WITHIN} s after the last fault: {waits}; {self.alive_state()}")
            await asyncio.sleep(0.5)
        for log in self.brokers.tokens:
            if log.entries and log.entries[-1].record is None:
                self.coverage.fault("trailing_marker")
        await asyncio.sleep(0.5)  # notices are written after the transactions that they follow
        self.judge.final(perfect=not self.excused)
        self.finished_at = self.loop.now
        await self._stop_all()

    finished_at = 0.0

    def _settled(self) -> str | None:
        """Returns what is not finished yet, or not even produced: records after the judgement would be missing from it."""
        return f"{self.unwritten} writes are still to come" if self.unwritten else self.judge.settled()

    def alive_state(self) -> str:
        return "; ".join(f"{process.node!r} {process.workers}" for process in self.alive)

    def _check_mains(self) -> None:
        for main in self.mains:
            if main.done() and not main.cancelled() and (error := main.exception()) is not None:
                raise error

    async def _watch(self) -> None:
        """Look at every relay often: bounds, and the states reached."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL)
            self.group.expire()
            self.archive_group.expire()
            for process in self.alive:
                for worker in process.workers:
                    self.coverage.state(worker.state)
                    pipeline = worker.pipeline
                    bound = pipeline.limits.buffered + 60 * 70_000
                    if (held := pipeline.status().buffered_bytes) > bound:
                        raise Violation(f"{worker!r} holds {held} bytes")
                    self._note_pause(worker)
                    for response in pipeline.open_responses.values():
                        self.coverage.state(response.phase)
                        if any(part.evicted for part in response.parts):
                            self.coverage.fault("text_evicted")
            for durable in self.judge.durable.values():
                if durable.finished:
                    self.coverage.state(Phase.FINISHED)

    def _note_pause(self, worker: PartitionWorker) -> None:
        if not worker.pipeline.paused:
            self._paused.pop(id(worker), None)
            return
        self.coverage.fault("paused")
        if self.loop.now - self._paused.setdefault(id(worker), self.loop.now) > self.plan.limits.idle_timeout:
            self.coverage.fault("paused_longer_than_idle")

    async def _stop_all(self) -> None:
        for process in self.alive:
            await self.loop.spawn(process.stop(), process.node)
        for archive in self.archives:
            if archive.node.alive:
                await self.loop.spawn(archive.stop(), archive.node)


def run(plan: Plan, *, metrics: Metrics, coverage: Coverage) -> Outcome:
    world = World(plan, metrics, coverage)
    with listening(world.heard, lambda: world.loop.now):
        life = world.loop.spawn(world.live())
        outcome = _judged(world, life)
        try:
            world.loop.bury(world.nodes)
        except Stuck as left:
            return outcome if outcome.failure else _failed(world, left)
    return outcome


def _judged(world: World, life: "asyncio.Task[None]") -> Outcome:
    try:
        world.loop.run(life)
    except Exception as error:  # noqa: BLE001 - a broken promise, or whatever the product raises: each is a finding
        return _failed(world, error)
    return Outcome(None, world.loop.steps, world.finished_at)


def _failed(world: World, error: BaseException) -> Outcome:
    where = "".join(traceback.format_exception(error)[-6:])
    return Outcome(
        f"at {world.loop.now:.3f} s: {type(error).__name__}: {error}", world.loop.steps, world.loop.now, where
    )


LOGGING = False


@contextmanager
def listening(heard: Callable[[Mapping[str, object]], None], now: Callable[[], float]) -> Iterator[None]:
    """What is logged goes to `heard`, and is shown only with `LOGGING`."""
    before = structlog.get_config()

    def hear(_logger: object, _name: str, event: dict[str, object]) -> dict[str, object]:
        heard(event)
        return event

    def drop(_logger: object, _name: str, event: dict[str, object]) -> dict[str, object]:
        raise structlog.DropEvent

    def stamp(_logger: object, _name: str, event: dict[str, object]) -> dict[str, object]:
        return {"t": round(now(), 4), **event}

    processors = [hear, stamp, structlog.processors.KeyValueRenderer()] if LOGGING else [hear, drop]
    structlog.configure(processors=processors, cache_logger_on_first_use=False)  # type: ignore[arg-type]
    try:
        yield
    finally:
        structlog.configure(**before)
