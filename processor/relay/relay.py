"""The relay: a member of the consumer group, which owns partitions and relays their records.

The rebalance callbacks only gate and drain: *assigned* returns at once, because no heartbeat is sent before it does,
and the takeover is a task; *revoked* waits until the partitions are released, and heartbeats continue meanwhile.

    JOINING --assigned--> MEMBER --group silent, or credentials changed--> LEAVING --left--> JOINING
       |                    |                                                |
       '--------------------'---------------------- stop --------------------'-----> STOPPING

JOINING: a client joins the group, or must be connected; nothing is owned.
MEMBER: the group has assigned partitions, perhaps none.
LEAVING: partitions are released, to join with a new client; new assignments are not accepted.
STOPPING: the same, permanently.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import structlog

from processor.core.backoff import Backoff
from processor.core.group_watch import GroupWatch
from processor.core.items import end_of
from processor.core.limits import Limits, allowances
from processor.core.response import Raw
from processor.errors import KafkaUnavailable, PartitionLost, RecordsGone
from processor.relay.parts import WorkerParts
from processor.relay.worker import PartitionWorker
from processor.telemetry.retry import Retry

log = structlog.get_logger(__name__)

FETCH_RECORDS = 2_000
"""Takes about 6 ms to take in: what else waits for the loop waits so long at most for a fetch."""
FETCH_WAIT = 1.1
"""Longer than a broker waits for a first record, so that an idle relay turns once for each of its answers."""
RETRY = Backoff(first=0.5, cap=1.0)
STARVED = 0.002
MEASURE_INTERVAL = 0.25
CANCEL_AGAIN = 12.0
"""Seconds: longer than a cancelled task takes to stop a producer that is not answered."""
STANDSTILL = 120.0
"""Seconds beyond the drain timeout: every wait of the fetching loop has a deadline far below it."""


class RelayState(Enum):
    JOINING = auto()
    MEMBER = auto()
    LEAVING = auto()
    STOPPING = auto()


TRANSITIONS: Final = {
    RelayState.JOINING: {RelayState.MEMBER, RelayState.LEAVING, RelayState.STOPPING},
    RelayState.MEMBER: {RelayState.MEMBER, RelayState.LEAVING, RelayState.STOPPING},
    RelayState.LEAVING: {RelayState.JOINING, RelayState.STOPPING},
    RelayState.STOPPING: {RelayState.STOPPING},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOptions:
    """`limits` are those of the whole process; every partition gets its share of the bytes.

    `credentials` identifies a state of the secrets and certificates: when it changes, the relay joins with a new
    client, if `check_credentials` does not raise KafkaUnavailable.
    """

    credentials: Callable[[], object]
    check_credentials: Callable[[], object]
    limits: Limits
    drain_timeout: float


class Relay:
    """See `processor.ports.log.RebalanceListener` for its callbacks."""

    def __init__(self, options: RelayOptions, parts: WorkerParts, tasks: asyncio.TaskGroup) -> None:
        self._options = options
        self._parts = parts
        self._consumer = parts.consumer
        self._measures = parts.measures
        self._metrics = parts.metrics
        self._tasks = tasks
        self._workers: dict[int, PartitionWorker] = {}
        self._running: dict[int, asyncio.Task[None]] = {}
        self._paused: set[int] = set()
        self.state = RelayState.JOINING
        self._giving_back = asyncio.Lock()
        self._credentials = options.credentials()
        self._kafka_trouble: str | None = None
        self._watch = GroupWatch(parts.consumer.patience)
        self._fetching = self._retry("fetch")
        self._turned_at = parts.clock.monotonic()

    def _retry(self, operation: str) -> Retry:
        return Retry(RETRY, self._parts.random.random, self._metrics.retries.labels(operation).inc)

    def _become(self, state: RelayState) -> None:
        assert state in TRANSITIONS[self.state], (self.state, state)
        self.state = state

    @property
    def _stopping(self) -> bool:
        return self.state is RelayState.STOPPING

    @property
    def workers(self) -> Iterable[PartitionWorker]:
        return self._workers.values()

    def trouble(self) -> str | None:
        """Why tokens are not flowing, as a sentence; None when they are."""
        if self._kafka_trouble is not None:
            return self._kafka_trouble
        if self.state is RelayState.JOINING:
            return "waiting for the consumer group to assign partitions"
        for worker in self._workers.values():
            if worker.stuck is not None:
                return f"partition {worker.number}: {worker.stuck}"
            if not worker.running:
                return f"partition {worker.number} is being taken over"
        return " ".join(self._consumer.troubles.values()) or None

    @property
    def controls_trouble(self) -> str | None:
        """Why no cancel is seen, as a sentence. Tokens flow even so."""
        return self._parts.controls.trouble

    def standstill(self) -> str | None:
        """Why the fetching loop hangs, which only a restart corrects; None while it runs, with or without Kafka."""
        still = self._parts.clock.monotonic() - self._turned_at
        if self._stopping or still < self._options.drain_timeout + STANDSTILL:
            return None
        return f"its fetching loop has not turned for {still:.0f} s"

    # Rebalances

    async def on_partitions_assigned(self, numbers: Sequence[int]) -> None:
        self._metrics.rebalances.inc()
        if self.state in {RelayState.LEAVING, RelayState.STOPPING}:
            # The group may still assign while this member gives back what it had: nobody would end those workers.
            log.info("assignment_refused", partitions=list(numbers))
            return
        self._become(RelayState.MEMBER)
        self._consumer.pause(*numbers)
        self._paused = set(numbers)
        limits = self._share(len(numbers))
        for number in numbers:
            worker = self._new_worker(number, limits)
            self._workers[number] = worker
            self._running[number] = self._tasks.create_task(self._own(worker))
        log.info("partitions_assigned", partitions=list(numbers))

    def _new_worker(self, number: int, limits: Limits) -> PartitionWorker:
        return PartitionWorker(number, self._parts, self._parts.writer_of(number), limits)

    async def on_partitions_revoked(self, numbers: Sequence[int]) -> None:
        del numbers  # an eager assignor takes all of them
        await self._give_back(self._options.drain_timeout)

    def _share(self, partitions: int) -> Limits:
        return self._options.limits.share(partitions)

    async def _own(self, worker: PartitionWorker) -> None:
        try:
            await worker.run()
        except PartitionLost as error:
            log.warning("partition_lost", partition=worker.number, cause=str(error))
            if not self._stopping and worker.number in self._workers:
                # Still ours as far as the group goes: a zombie fenced its successor. Claim the partition again.
                await self._consumer.membership.heartbeat_after(self._parts.clock.monotonic())
                self._consumer.membership.rejoin()

    async def _give_back(self, within: float) -> None:
        """Drains all partitions at once. Afterwards no record of them is published or committed.

        One drain runs at a time: a stop must not end the client while a rebalance still drains.
        """
        async with self._giving_back:
            await self._drain_all(within)

    async def _drain_all(self, within: float) -> None:
        workers, self._workers = self._workers, {}
        running, self._running = self._running, {}
        if not workers:
            return
        self._consumer.pause(*workers)
        try:
            drained = await asyncio.gather(*(worker.drain(within) for worker in workers.values()))
        finally:
            for task in running.values():
                task.cancel()
        await _ended(running.values())
        await asyncio.gather(*(worker.close() for worker in workers.values()))
        for number in workers:
            self._measures.forget(number)
        log.info("partitions_released", partitions=sorted(workers), clean=sum(drained))

    # Fetching

    async def run(self) -> None:
        """Fetch and feed until `stop`."""
        controls = self._tasks.create_task(self._parts.controls.run(lambda: self.workers))
        try:
            await self._run()
        finally:
            controls.cancel()

    async def _run(self) -> None:
        await self._start()
        measured = 0.0
        while not self._stopping:
            self._turned_at = self._parts.clock.monotonic()
            fetched = await self._fetch()
            for number, records in fetched.items():
                if (worker := self._workers.get(number)) is not None and records:
                    worker.consume(records, end_of(records))
            if self._kafka_trouble is None:
                self._follow_positions()
            if await self._is_cut_off() and not self._stopping:
                log.warning("group_silent", seconds=round(self._consumer.membership.silence(), 1))
                await self._join_again()
            self._gate()
            if self._parts.clock.monotonic() - measured >= MEASURE_INTERVAL:
                measured = self._parts.clock.monotonic()
                if self._credentials_changed():
                    log.info("kafka_credentials_changed")
                    await self._join_again()
                self._measure()
            # Under a backlog fetching never waits: let lanes and writers have their turns.
            await asyncio.sleep(0 if fetched else STARVED)

    async def _fetch(self) -> Mapping[int, Sequence[Raw]]:
        """Returns what was fetched, by partition; nothing after a failure and a pause."""
        try:
            fetched = await self._consumer.fetch(FETCH_RECORDS, FETCH_WAIT)
        except RecordsGone as error:
            self._take_over_again(error)
            self._kafka_trouble = str(error)
        except KafkaUnavailable as error:
            self._read_again()
            self._kafka_trouble = str(error)
        else:
            self._kafka_trouble = None
            self._fetching.succeeded()
            return fetched
        await self._fetching.pause()
        return {}

    async def _is_cut_off(self) -> bool:
        """Whether the group has to be joined with a new client: see `GroupWatch`."""
        now, membership = self._parts.clock.monotonic(), self._consumer.membership
        ended = membership.ended
        if not self._watch.asks(now, silence=membership.silence(), ended=ended):
            return False
        reachable = await self._consumer.reachable()
        return self._watch.answered(now, reachable=reachable, ended=ended)

    def _read_again(self) -> None:
        """Fetch from where the partitions are: the client may have passed over what it read of one when it failed at
        another.

        So it does where a batch of a partition can't be read (its checksum, its compression).
        """
        for number, worker in self._workers.items():
            if worker.running and number in self._consumer.assigned:
                self._consumer.seek(number, worker.position)

    def _take_over_again(self, gone: RecordsGone) -> None:
        """Records of partitions that were paused for long were deleted unread.

        A takeover finds the committed offset out of range, and lets no response go on as if nothing were missing.
        """
        for number, offset in gone.positions.items():
            worker = self._workers.get(number)
            if worker is not None and worker.running and worker.position <= offset:
                log.error("records_lost", partition=number, position=offset)
                self._consumer.membership.rejoin()

    async def _join_again(self) -> None:
        """Join the group with a new client.

        Either the group has not answered for long, although fetching goes on or fails quietly; or what this client is
        let in by may soon be refused.
        """
        self._become(RelayState.LEAVING)
        self._watch.renewed()
        await self._give_back(self._options.drain_timeout)
        await self._consumer.renew()
        if self.state is RelayState.LEAVING:  # and not asked to stop meanwhile
            self._become(RelayState.JOINING)
            await self._start()

    def _credentials_changed(self) -> bool:
        """Whether they changed into others that can be used; as long as not, the old ones may still do."""
        now = self._options.credentials()
        if now == self._credentials:
            return False
        self._credentials = now
        try:
            self._options.check_credentials()
        except KafkaUnavailable as error:
            log.warning("kafka_credentials_unusable", cause=str(error))
            return False
        return True

    async def _start(self) -> None:
        retry = self._retry("join")
        while not self._stopping:
            self._turned_at = self._parts.clock.monotonic()
            try:
                await self._consumer.start(self)
            except KafkaUnavailable as error:
                if self._stopping:
                    return
                self._kafka_trouble = str(error)
                log.warning("kafka_unavailable", cause=str(error))
                await retry.pause()
            else:
                return

    def _follow_positions(self) -> None:
        """Transaction markers and aborted records move the position without a record."""
        for number, worker in self._workers.items():
            reached = self._consumer.reached(number)
            if worker.running and reached is not None and reached > worker.position:
                worker.consume((), reached)

    def _gate(self) -> None:
        """Pause partitions that are not taken over or hold too much; resume the others."""
        pause: set[int] = set()
        for number, worker in self._workers.items():
            if not worker.running or worker.paused:
                pause.add(number)
        if started := pause - self._paused:
            self._consumer.pause(*started)
        if ended := self._paused - pause:
            self._consumer.resume(*(number for number in ended if number in self._workers))
        self._paused = pause

    def _measure(self) -> None:
        workers = list(self._workers.values())
        most = self._options.limits.open_responses
        for worker, allowed in zip(
            workers, allowances([worker.pipeline.live_responses for worker in workers], most), strict=True
        ):
            worker.pipeline.allow_open(allowed)
        paused = len(self._paused & self._workers.keys())
        self._measures.show(self._workers, paused, self._parts.clock.monotonic())

    # Stopping

    async def stop(self) -> None:
        """Hand the partitions over cleanly, inside the drain timeout, and leave the group."""
        self._become(RelayState.STOPPING)
        await self._give_back(self._options.drain_timeout)
        await self._consumer.stop()
        await self._parts.committed.close()
        await self._parts.responses.close()


async def _ended(cancelled: Iterable[asyncio.Task[None]]) -> None:
    """Waits until the tasks have ended. Cancels one again where a client that it closed has swallowed the cancellation."""
    pending = set(cancelled)
    while pending:
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN)
        for task in pending:
            task.cancel()
