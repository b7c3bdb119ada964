"""The archive's processes: the product's `Archive` on a stream and a store of this world.

The stream represents Faust's consumer as `processor.archive.stream` controls it: only what is confirmed is committed,
and only in the generation it was read in. The store stores entries one by one, so that a crash leaves a part of a
batch.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from processor.archive.app import Archive, ArchiveSettings
from processor.archive.batch import Arrival
from processor.archive.stream import Receive
from processor.clock import Clock
from processor.core.backoff import Backoff
from processor.errors import KafkaUnavailable, StoreUnavailable
from processor.kafka.connection import KafkaConnection
from processor.kafka.dead_letter_writer import SourcedLetter
from processor.ports.store import Entry, Page, Position, StoredResponse, check_storable, merge_hydration, outdoes
from processor.telemetry.metrics import Metrics
from simulation.clients import SimConsumer
from simulation.coverage import Coverage
from simulation.group import Group
from simulation.log import Brokers
from simulation.loop import NODE, Node, VirtualLoop
from simulation.network import Network

COMMIT_INTERVAL = 1.0
FETCH_WAIT = 2.0


class SimStore:
    """An `EntryStore` that keeps the newest record of every response."""

    def __init__(self, random: Random, coverage: Coverage) -> None:
        self._random = random
        self._coverage = coverage
        self.entries: dict[str, Entry] = {}
        self.deleted: set[str] = set()
        self.down = False
        self.lose_answer = 0.0
        self.busy: set[Node | None] = set()
        """Who has a batch half stored."""

    async def start(self) -> None:
        pass

    async def upsert_batch(self, entries: Sequence[Entry]) -> None:
        node = NODE.get()
        self.busy.add(node)
        try:
            await self._keep_all(entries)
        finally:
            self.busy.discard(node)

    async def _keep_all(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            await asyncio.sleep(self._random.uniform(0.001, 0.02))
            if self.down:
                raise StoreUnavailable("the store does not answer")
            self._keep(entry)
        if self.lose_answer and self._random.random() < self.lose_answer:
            raise StoreUnavailable("the store's answer did not come")

    def _keep(self, entry: Entry) -> None:
        if entry.record is None:
            self.remove(entry.response_id)
            return
        check_storable(entry.record)
        old = self.entries.get(entry.response_id)
        if entry.response_id in self.deleted or (old is not None and not self._replaces(entry, old)):
            self._coverage.fault("archive_record_outdone")
            return
        self.entries[entry.response_id] = entry

    def _replaces(self, new: Entry, old: Entry) -> bool:
        assert new.record is not None
        assert old.record is not None
        finished, updated_at = old.record.finished, old.record.updated_at
        if finished and new.record != old.record:
            self._coverage.fault("archive_kept_the_finished")
        return not finished and outdoes(
            new.position, new.record, old.position, old_finished=finished, old_updated_at=updated_at
        )

    def remove(self, response_id: str) -> None:
        """As the API's deletion does."""
        self.deleted.add(response_id)
        self.entries.pop(response_id, None)

    async def hydrate(self) -> set[str]:
        """The ids of all there are, read in two steps as stores do; between them one may end."""
        running = self._read(finished=False)
        await asyncio.sleep(self._random.uniform(0.005, 0.05))
        page = merge_hydration(running, Page(tuple(self._read(finished=True)), None))
        return {item.response_id for item in page.items}

    def _read(self, *, finished: bool) -> list[StoredResponse]:
        return [
            StoredResponse(each.position, each.response_id, each.value or b"")
            for each in self.entries.values()
            if each.record is not None and each.record.finished == finished
        ]

    def heal(self) -> None:
        self.down, self.lose_answer = False, 0.0


Committed = Callable[[int, int], None]
"""Called with (partition, offset) of every commit that counts."""


class SimStream:
    """As `processor.archive.stream.ResponseStream`, on the world's Kafka."""

    cut_off = False

    def __init__(self, parts: "ArchiveParts", network: Network, receive: Receive) -> None:
        self._parts = parts
        self._network = network
        self._receive = receive
        self._consumer = SimConsumer(parts.brokers, parts.group, network, parts.clock, "responses")
        self._confirmed: dict[int, int] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._read_until: dict[int, int] = {}

    async def start(self) -> None:
        await self._consumer.start(self)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._read()), loop.create_task(self._keep_committing())]

    async def wait_until_failed(self) -> BaseException:
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        return RuntimeError("the consumer ended")

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._commit()
        await self._consumer.stop()

    async def on_partitions_revoked(self, revoked: object) -> None:
        del revoked
        await self._commit()
        self._confirmed.clear()

    async def on_partitions_assigned(self, assigned: object) -> None:
        del assigned
        self._confirmed.clear()

    @property
    def assigned(self) -> frozenset[int]:
        return self._consumer.assigned

    def confirm(self, partition: int, offset: int, generation: int) -> None:
        if generation != self._consumer.generation or partition not in self.assigned:
            self._parts.coverage.fault("archive_confirmed_too_late")
            return
        self._confirmed[partition] = max(offset + 1, self._confirmed.get(partition, 0))

    def lag(self) -> dict[int, int]:
        return {}

    async def _read(self) -> None:
        while True:
            fetched = await self._consumer.fetch(60, FETCH_WAIT)
            generation = self._consumer.generation
            for number, records in fetched.items():
                for record in records:
                    if record.offset < self._read_until.get(number, 0):
                        self._parts.coverage.fault("archive_read_again")
                    self._read_until[number] = record.offset + 1
                    at = Position(number, record.offset)
                    await self._receive(Arrival("responses", at, record.key, record.value, generation))

    async def _keep_committing(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_INTERVAL)
            await self._commit()

    async def _commit(self) -> None:
        due, generation = dict(self._confirmed), self._consumer.generation
        committed = self._parts.brokers.archived
        due = {number: offset for number, offset in due.items() if offset > committed.get(number, (0, ""))[0]}
        if not due:
            return

        def commit() -> None:
            if generation != self._parts.group.generation:
                return
            for number, offset in due.items():
                self._parts.committed(number, offset)
                committed[number] = (offset, "")

        try:
            await self._network.ask(commit, coordinator=True)
        except KafkaUnavailable:
            return


class NoLetters:
    """Nothing the relay writes is refused."""

    async def write(self, letters: Sequence[SourcedLetter]) -> None:
        raise AssertionError(f"the archive refuses {letters}")

    async def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class ArchiveParts:
    loop: VirtualLoop
    brokers: Brokers
    group: Group
    store: SimStore
    clock: Clock
    metrics: Metrics
    random: Random
    coverage: Coverage
    committed: Committed


class ArchiveProcess:
    def __init__(self, name: str, parts: ArchiveParts) -> None:
        self.node = Node(name)
        self._parts = parts
        network = Network(parts.loop, parts.random, parts.coverage, parts.brokers)
        self._archive = Archive(
            ArchiveSettings("relay-archive", "responses", "dead-letters"),
            source=lambda: KafkaConnection("nowhere"),
            store=parts.store,
            metrics=parts.metrics,
            clock=parts.clock,
            backoff=Backoff(first=0.2, cap=2.0),
            new_stream=lambda receive: SimStream(parts, network, receive),
            letters=NoLetters(),
            chance=lambda: 0.5,  # the archive's waits are not the seed's
        )

    async def main(self) -> None:
        await self._archive.start()
        await self._archive.wait()

    async def stop(self) -> None:
        await self._archive.stop()
