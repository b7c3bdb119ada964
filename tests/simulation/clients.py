"""Kafka's clients of one node, as `processor.ports.log` wants them, over a network that delays, cuts and loses."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TypeVar

from processor.clock import Clock
from processor.errors import KafkaUnavailable, PartitionLost, RecordsGone, RecordTooLarge
from processor.kafka import GroupMembership
from processor.ports.log import RebalanceListener, Record
from simulation.coverage import Coverage
from simulation.group import Group
from simulation.log import Brokers, Fenced, LogRecord, MessageTooLarge
from simulation.network import REQUEST_TIMEOUT, Network, resolve

T = TypeVar("T")

HEARTBEAT_INTERVAL = 0.8
BACKOFF = 0.3
BATCH = 60
BESIDE_PAUSED = 0.3
"""Seconds that a fetch waits while a partition is paused, as the client's does."""
SPOILT = 0.003
"""Of the fetches that bring something."""


class Coordination:
    """What `GroupMembership` looks at: one heartbeat, the wish to join again, and the task that joins."""

    def __init__(self, network: Network, group: Group, heard: float = float("-inf")) -> None:
        self._network = network
        self._group = group
        self._coordination_task: asyncio.Task[None] | None = None
        self.failing = False
        self.member_id: str | None = None
        self.generation = -1
        self.heard = heard
        """When the last heartbeat that was answered had been sent."""
        self.rejoin = asyncio.Event()

    @property
    def ended(self) -> bool:
        return self._coordination_task is not None and self._coordination_task.done()

    def run(self, joining: Coroutine[object, object, None]) -> None:
        self._coordination_task = asyncio.get_running_loop().create_task(joining)

    def fail(self) -> None:
        """Ends the task at its next step: not while the listener is called."""
        self.failing = True
        self.rejoin.set()

    def stop(self) -> None:
        if self._coordination_task is not None:
            self._coordination_task.cancel()

    def request_rejoin(self) -> None:
        self.rejoin.set()

    async def _do_heartbeat(self) -> bool:
        member_id, generation = self.member_id or "", self.generation
        sent = self._network.loop.now
        try:
            said = await self._network.ask(lambda: self._group.heartbeat(member_id, generation), coordinator=True)
        except KafkaUnavailable:
            return False
        if said in {"ok", "rebalancing"}:
            self.heard = sent
        if said == "ok":
            return True
        if said == "rebalancing":
            self.rejoin.set()
            return True
        if said == "unknown":
            self.member_id = None
        self.rejoin.set()
        return False


class SeenMembership:
    """The product's membership, noting when its lease is over."""

    def __init__(self, membership: GroupMembership, coverage: Coverage) -> None:
        self._membership = membership
        self._coverage = coverage

    def holds(self) -> bool:
        holds = self._membership.holds()
        if not holds:
            self._coverage.fault("lease_over")
        return holds

    async def heartbeat_after(self, moment: float) -> None:
        await self._membership.heartbeat_after(moment)

    def rejoin(self) -> None:
        self._membership.rejoin()

    @property
    def ended(self) -> bool:
        return self._membership.ended

    def silence(self) -> float:
        return self._membership.silence()


class SimConsumer:
    """A member of the group. Its background tasks belong to its node."""

    def __init__(self, brokers: Brokers, group: Group, network: Network, clock: Clock, topic: str = "tokens") -> None:
        self.topic = topic
        self._brokers = brokers
        self._logs = {"tokens": brokers.tokens, "responses": brokers.responses}[topic]
        self._offsets = {"tokens": brokers.committed, "responses": brokers.archived}[topic]
        self._group = group
        self._network = network
        self._coordinator = self.coordination = Coordination(network, group)
        self._member = GroupMembership(group.session_timeout, clock)
        self.membership = SeenMembership(self._member, network.coverage)
        self.patience = group.rebalance_timeout + 2 * group.session_timeout
        self._assigned: tuple[int, ...] = ()
        self._paused: set[int] = set()
        self._positions: dict[int, int] = {}
        self._beating: asyncio.Task[None] | None = None
        self._refused: Mapping[int, int] = {}
        """Of the last fetch."""
        self._changed = asyncio.Event()
        self._stopped = False

    async def start(self, listener: RebalanceListener) -> None:
        if self._stopped:
            self._coordinator = self.coordination = Coordination(self._network, self._group, self._coordinator.heard)
            self._assigned, self._paused, self._positions = (), set(), {}
            self._stopped = False
        await self._network.ask(lambda: None)
        if self._stopped:
            raise KafkaUnavailable("the consumer was stopped while it connected")
        self._member.observe(self)
        self._coordinator.run(self._coordinate(listener))

    async def renew(self) -> None:
        self._network.coverage.fault("client_renewed")
        await self.stop()

    def fail(self) -> None:
        """Ends the task that joins the group, as an error does to the client's. Heartbeats go on."""
        self._coordinator.fail()

    async def stop(self) -> None:
        self._stopped = True
        self._coordinator.stop()
        self._stop_beating()
        member_id = self._coordinator.member_id
        try:
            if member_id is not None:
                await self._network.ask(lambda: self._group.leave(member_id), coordinator=True)
        except KafkaUnavailable:
            pass

    # The group

    async def _coordinate(self, listener: RebalanceListener) -> None:
        coordinator = self._coordinator
        while not coordinator.failing:
            coordinator.rejoin.clear()
            await listener.on_partitions_revoked(sorted(self._assigned))
            self._stop_beating()
            while not await self._join():
                await asyncio.sleep(BACKOFF)
            await listener.on_partitions_assigned(sorted(self._assigned))
            self._beating = asyncio.get_running_loop().create_task(self._beat())
            await coordinator.rejoin.wait()

    async def _join(self) -> bool:
        coordinator = self._coordinator
        try:
            member_id, joined = await self._network.ask(
                lambda: self._group.join(coordinator.member_id), coordinator=True
            )
            coordinator.member_id = member_id
            async with asyncio.timeout(self._group.rebalance_timeout + REQUEST_TIMEOUT):
                generation, assigned = await asyncio.shield(joined)
            await self._network.ask(lambda: None, coordinator=True)
        except (KafkaUnavailable, TimeoutError):
            return False
        coordinator.generation, self._assigned = generation, assigned
        self._paused = set()
        committed = self._offsets
        self._positions = {number: committed.get(number, (0, ""))[0] for number in self._assigned}
        self._end_waits()
        return True

    async def _beat(self) -> None:
        while self._coordinator.member_id is not None:
            await asyncio.sleep(HEARTBEAT_INTERVAL)
            await self._coordinator._do_heartbeat()

    def _stop_beating(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None

    # Records

    async def fetch(self, max_records: int, wait: float) -> Mapping[int, Sequence[LogRecord]]:
        if self._coordinator.ended:
            raise KafkaUnavailable("fetching failed: the client takes no part in the group any more")
        fetched = self._take(max_records)
        if not fetched:
            grown = [self._logs[number].grown for number in self._assigned if number not in self._paused]
            await _first((*grown, self._changed), min(wait, BESIDE_PAUSED) if self._paused else wait)
            await asyncio.sleep(self._network.random.uniform(0.001, 0.05))
            fetched = self._take(max_records)
        if fetched and self._network.random.random() < SPOILT:
            # As the client does where one partition's batch can't be read: what it took of others in the same turn is gone.
            self._network.coverage.fault("fetch_spoilt")
            raise KafkaUnavailable("fetching failed: a batch is corrupt")
        return fetched

    def _take(self, max_records: int) -> dict[int, list[LogRecord]]:
        fetched: dict[int, list[LogRecord]] = {}
        if self._network.brokers_cut or self._brokers.gone:
            return fetched
        wanted = {number: self._positions[number] for number in self._assigned if number not in self._paused}
        gone = {number: at for number, at in wanted.items() if self._is_out_of_range(number, at)}
        self._refuse(gone)
        for number, position in wanted.items():
            if number in gone:
                continue
            log = self._logs[number]
            end = min(
                log.end_before_damage(position), position + self._network.random.randint(1, min(BATCH, max_records))
            )
            if end > position:
                self._positions[number] = end
                if records := list(log.read(position, end)):
                    fetched[number] = records
        return fetched

    def _is_out_of_range(self, number: int, position: int) -> bool:
        log = self._logs[number]
        return not log.first <= position <= len(log.entries)

    def _refuse(self, gone: Mapping[int, int]) -> None:
        """Raises RecordsGone, but not twice in a row: between two refusals, a fetch brings what there is of others."""
        self._refused = gone if gone != self._refused else {}
        if self._refused:
            raise RecordsGone(self._refused)

    @property
    def troubles(self) -> Mapping[int, str]:
        stuck = [number for number in self._assigned if self._positions[number] in self._logs[number].damaged]
        return {number: f"can't be read at offset {self._positions[number]}: seek another one" for number in stuck}

    def reached(self, number: int) -> int | None:
        return self._positions.get(number)

    async def reachable(self) -> bool:
        try:
            await self._network.ask(lambda: None)
        except KafkaUnavailable:
            return False
        return True

    async def end_offset(self, number: int) -> int:
        return await self._network.ask(lambda: len(self._logs[number].entries))

    async def first_offset(self, number: int) -> int:
        return await self._network.ask(lambda: self._logs[number].first)

    def seek(self, number: int, offset: int) -> None:
        if number in self._positions:
            self._positions[number] = offset

    def pause(self, *numbers: int) -> None:
        self._paused |= set(numbers)

    def resume(self, *numbers: int) -> None:
        self._paused -= set(numbers)
        self._end_waits()

    def _end_waits(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def high_water(self, number: int) -> int | None:
        return self._logs[number].end if number in self._assigned else None

    @property
    def generation(self) -> int:
        return self._coordinator.generation

    @property
    def assigned(self) -> frozenset[int]:
        return frozenset(self._assigned)


async def _first(events: Sequence[asyncio.Event], wait: float) -> None:
    """Wait until one of the events is set, at most `wait` seconds. Cheaper than a task for each."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bool] = loop.create_future()
    for event in events:
        event._waiters.append(done)  # what Event.wait does, for several at once
    timer = loop.call_later(wait, resolve, done, True)
    try:
        await done
    finally:
        timer.cancel()
        for event in events:
            event._waiters.remove(done)


class SimOffsets:
    def __init__(self, brokers: Brokers, network: Network) -> None:
        self._brokers = brokers
        self._network = network

    async def read(self, number: int) -> tuple[int, str] | None:
        return await self._network.ask(lambda: self._brokers.committed.get(number))

    async def close(self) -> None:
        pass


class SimResponses:
    """Reads what is committed of a responses partition."""

    def __init__(self, brokers: Brokers, network: Network) -> None:
        self._brokers = brokers
        self._network = network

    async def read(
        self, number: int, start: int, take: Callable[[int, bytes, bytes | None], None], *, only: bool = False
    ) -> int:
        log = self._brokers.responses[number]
        end, records = await self._network.ask(lambda: (log.end, list(log.read(start, log.end))))
        for record in records[:1] if only else records:
            take(record.offset, record.key or b"", record.value)
        return end

    async def close(self) -> None:
        pass


class SimWriter:
    """The transactional producer of a partition."""

    def __init__(self, brokers: Brokers, network: Network, number: int) -> None:
        self._brokers = brokers
        self._network = network
        self._number = number
        self._id = f"relay-tokens-{number}"
        self._epoch: int | None = None

    @property
    def started(self) -> bool:
        return self._epoch is not None

    async def start(self) -> None:
        try:
            self._epoch = await self._network.ask_long(lambda: self._brokers.init_producer(self._id))
        except Fenced:
            raise KafkaUnavailable("another producer was started at the same time") from None

    async def write(
        self, records: Sequence[Record], commit: Callable[[Sequence[int]], tuple[int, str]]
    ) -> tuple[int, str]:
        epoch = self._epoch
        if epoch is None:
            raise KafkaUnavailable("the transactional producer is not started")
        brokers, ask, number, name = self._brokers, self._network.ask, self._number, self._id
        to_write = [
            (brokers.log(topic, partition if partition is not None else number), value, key, tuple(headers))
            for topic, partition, key, value, headers in records
        ]
        try:
            await self._network.ask_long(lambda: brokers.begin(name, epoch))
            offsets = await ask(lambda: brokers.produce(name, epoch, to_write)) if to_write else []
            point = commit(offsets)
            await ask(lambda: brokers.add_offset(name, epoch, number, *point))
            await ask(lambda: brokers.commit(name, epoch))
        except Fenced as error:
            self._network.coverage.fault("writer_fenced")
            await self.stop()
            raise PartitionLost(f"another owner has taken over {name}") from error
        except MessageTooLarge as error:
            await self.stop()
            raise RecordTooLarge(error.topic, error.size) from error
        except BaseException:
            await self.stop()
            raise
        return point

    async def stop(self) -> None:
        self._epoch = None
