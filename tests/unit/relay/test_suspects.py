"""Which ends of a partition's owners count against a record: those alone that hardly anything else can have caused."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import orjson
import pytest

from processor.clock import Clock
from processor.core.limits import Limits
from processor.core.outflow import AskHistory
from processor.core.partition import PartitionPipeline
from processor.errors import KafkaUnavailable, PartitionLost, RecordTooLarge
from processor.relay.caution import POISON_AFTER
from processor.relay.commit_metadata import CommitMetadata, Trying
from processor.relay.controls import RelayControls
from processor.relay.parts import WorkerParts, pipeline_of
from processor.relay.worker import PartitionWorker, WorkerState
from processor.telemetry.metrics import Metrics
from support.around import Around
from support.measures import NoMeasures
from support.world import LogRecord
from topics.codec import Decoder
from topics.plain import PlainToken

pytestmark = pytest.mark.timeout(60)

Commit = Callable[[Sequence[int]], tuple[int, str]]
DEADLY = "DEADLY"


class Killed(BaseException):
    """The process is gone."""


class DeadlyDecoder(Around):
    def __init__(self) -> None:
        super().__init__(Decoder(None))

    def plain(self, value: bytes) -> PlainToken:
        if DEADLY.encode() in value:
            raise Killed
        taken: PlainToken = self.inside.plain(value)
        return taken


class RaisesAfterFeeding(Around):
    def __init__(self, parts: WorkerParts, limits: Limits) -> None:
        super().__init__(pipeline_of(parts, limits))

    def feed(self, raws: Sequence[Any], position: int, now: float) -> None:
        self.inside.feed(raws, position, now)
        raise MemoryError("a timer of somebody else")


class Never(Random):
    def random(self) -> float:
        return 0.0


class Membership:
    ended = False

    def __init__(self) -> None:
        self.held = True

    def holds(self) -> bool:
        return self.held

    async def heartbeat_after(self, moment: float) -> None: ...


class HungLanes:
    """The realtime service takes a frame and never answers."""

    def __init__(self, pipeline: PartitionPipeline) -> None:
        self._pipeline = pipeline

    def wake(self) -> None:
        for channel in self._pipeline.take_woken():
            if isinstance(self._pipeline.take(channel, 1.0), AskHistory):
                self._pipeline.history(channel, {}, 1.0)
                self._pipeline.take(channel, 1.0)

    def close(self) -> None: ...
    def stop(self) -> None: ...


class Partition:
    """Kafka, with one partition: its log, its committed offset, and the dead letters of its owners."""

    topic = "tokens"

    def __init__(self, *texts: str, metadata: CommitMetadata | None = None) -> None:
        events = [
            {"event": "start", "channel": "c"},
            *({"event": "token", "text": text} for text in texts),
            {"event": "stop"},
        ]
        self.log = [
            LogRecord(seq, orjson.dumps({**fields, "responseId": "r", "seq": seq})) for seq, fields in enumerate(events)
        ]
        self.committed = 0, (metadata or CommitMetadata(clean=True)).encode()
        self.dead_letters: list[tuple[str, int]] = []
        self.membership = Membership()
        self.answers: Callable[[CommitMetadata], bool] = lambda _: True
        """Whether Kafka answers to a commit that it carried out."""
        self.refuses_records = False

    @property
    def metadata(self) -> CommitMetadata:
        return CommitMetadata.decode(self.committed[1])

    # As an owner's consumer, committed offsets, `responses` and writer

    started = True

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def close(self) -> None: ...
    def seek(self, number: int, offset: int) -> None: ...

    async def first_offset(self, _number: int) -> int:
        return 0

    async def end_offset(self, _number: int) -> int:
        return len(self.log)

    async def write(self, records: Sequence[Any], commit: Commit) -> tuple[int, str]:
        await asyncio.sleep(0)
        for topic, *_, headers in records:
            named = dict(headers)
            if topic == "dead-letters":
                self.dead_letters.append(
                    (named["tokenstream-reason"].decode(), int(named["tokenstream-offset"].decode()))
                )
        if records and self.refuses_records:
            raise RecordTooLarge("responses", 1)
        self.committed = commit(range(len(records)))
        if not self.answers(self.metadata):
            await asyncio.Event().wait()
        return self.committed

    def worker(self, limits: Limits | None = None) -> PartitionWorker:
        nothing: Any = Nothing(self)
        self.membership = Membership()
        consumer: Any = self
        decoder: Any = DeadlyDecoder()
        parts = WorkerParts(
            consumer=consumer,
            committed=nothing,
            responses=nothing,
            writer_of=lambda _: consumer,
            lanes_of=lambda pipeline, *_: HungLanes(pipeline),
            decoder=decoder,
            metrics=Metrics(),
            clock=Clock(),
            random=Never(),
            measures=NoMeasures(),
            responses_topic="responses",
            dead_letters_topic="dead-letters",
            dead_letter_bytes=1 << 20,
            controls=RelayControls(Clock(), Random(1)),
        )
        return PartitionWorker(0, parts, consumer, limits or Limits())

    async def owner(self, limits: Limits | None = None) -> "Owner":
        owner = Owner(self, self.worker(limits))
        await owner.until(lambda: owner.worker.running)
        return owner


class Nothing:
    """The `responses` topic, which is empty, and the offsets."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition

    async def read(self, _number: int, *_: Any, **__: Any) -> Any:
        return 0 if _ else self._partition.committed


class Owner:
    def __init__(self, partition: Partition, worker: PartitionWorker) -> None:
        self.partition = partition
        self.worker = worker
        self.task = asyncio.create_task(worker.run())

    @property
    def gone(self) -> bool:
        return self.task.done()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition() and not self.gone:
                await asyncio.sleep(0.001)

    async def until_fed_up_to(self, offset: int) -> None:
        await self.until(lambda: self.worker.pipeline.position == offset)

    async def read(self) -> None:
        """Feed all there is, until it is taken in, the partition is paused, or the owner is gone."""
        log, start = self.partition.log, self.partition.committed[0]
        try:
            self.worker.feed(log[start:], len(log))
        except Killed:
            await self.kill()
        await self.until(self._has_read)

    def _has_read(self) -> bool:
        pipeline = self.worker.pipeline
        return (pipeline.paused or pipeline.position == len(self.partition.log)) and (
            self.partition.metadata.trying is None
        )

    async def kill(self) -> None:
        """End it: nothing more is written."""
        self.worker.abandon()
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Killed):
            await self.task

    async def drain(self) -> None:
        await self.worker.drain(2.0)
        await self.kill()


LONG = tuple("x" * 200 for _ in range(60))


async def test_handovers_during_an_outage_blame_no_record() -> None:
    partition = Partition(*LONG)
    for _ in range(5):
        owner = await partition.owner(Limits(buffered=len(LONG) * 300))
        await owner.read()
        assert owner.worker.pipeline.paused
        await owner.drain()
        assert partition.metadata == CommitMetadata(partition.metadata.restore)
    assert partition.dead_letters == []


async def test_ends_in_a_pause_after_a_record_do_not_count_against_it() -> None:
    partition = Partition(*LONG)
    for _ in range(8):
        owner = await partition.owner(Limits(buffered=len(LONG) * 300))
        await owner.read()
        assert owner.worker.pipeline.paused
        assert partition.metadata.trying is None
        await owner.kill()
    assert partition.dead_letters == []


@pytest.mark.parametrize("trying", [None, Trying(0, 1, 0), Trying(0, 400, 0)])
async def test_a_backlog_after_unclean_ends_costs_few_transactions(trying: Trying | None) -> None:
    partition = Partition(*("x" for _ in range(400)), metadata=CommitMetadata(attempts=1, trying=trying))
    commits: list[CommitMetadata] = []

    def counted(metadata: CommitMetadata) -> bool:
        commits.append(metadata)
        return True

    partition.answers = counted
    owner = await partition.owner()
    await owner.read()
    await owner.kill()
    assert owner.worker.pipeline.position == len(partition.log)
    assert len(commits) < 30


async def test_a_record_that_was_never_fed_is_not_blamed() -> None:
    partition = Partition("a", "b", metadata=CommitMetadata(attempts=1))
    partition.answers = lambda metadata: metadata.trying is None
    for _ in range(8):
        owner = await partition.owner()
        partition.answers = lambda _: False
        owner.worker.feed(partition.log, len(partition.log))
        await owner.until(lambda: partition.metadata.trying is not None)
        partition.membership.held = False
        await owner.drain()
        assert owner.worker.pipeline.position == 0
        assert partition.metadata.trying == Trying(0, 1, 0)
        partition.answers = lambda _: True
    assert partition.dead_letters == []


async def test_ends_beside_a_suspect_do_not_count_against_it() -> None:
    suspicion = Trying(1, 2, POISON_AFTER - 1)
    partition = Partition("a", "b", metadata=CommitMetadata(attempts=3, trying=suspicion))
    for _ in range(4):
        owner = await partition.owner()
        owner.worker.feed(partition.log, len(partition.log))
        await owner.until_fed_up_to(1)
        await owner.until(lambda: partition.metadata.trying == suspicion)
        await owner.kill()
        assert partition.metadata.trying == suspicion


async def test_what_kafka_refuses_to_take_of_a_record_does_not_count_against_it() -> None:
    suspicion = Trying(3, 4, POISON_AFTER - 1)
    partition = Partition("a", "b", metadata=CommitMetadata(attempts=3, trying=suspicion))
    partition.log[3] = LogRecord(3, b"not JSON")  # the dead letter is refused
    partition.refuses_records = True
    owner = await partition.owner()
    owner.worker.feed(partition.log, len(partition.log))
    await owner.until(lambda: owner.worker.stuck is not None)
    await owner.kill()
    assert partition.metadata.trying is None


async def test_an_orderly_end_before_a_suspect_was_fed_keeps_its_count() -> None:
    partition = Partition("a", "b", metadata=CommitMetadata(attempts=3, trying=Trying(1, 2, 1)))
    for _ in range(2):
        owner = await partition.owner()
        owner.worker.feed(partition.log, len(partition.log))
        await owner.until_fed_up_to(1)
        await owner.drain()
        assert (partition.metadata.attempts, partition.metadata.trying) == (0, Trying(1, 2, 1))


async def test_a_suspect_that_is_survived_is_cleared() -> None:
    partition = Partition("a", "b", metadata=CommitMetadata(attempts=3, trying=Trying(1, 2, POISON_AFTER - 1)))
    owner = await partition.owner()
    await owner.read()
    assert partition.metadata.trying is None
    await owner.kill()
    assert partition.dead_letters == []


async def test_where_kafka_is_slow_a_suspect_is_fed_without_counting() -> None:
    partition = Partition("a", "b", metadata=CommitMetadata(attempts=3, trying=Trying(1, 2, 1)))
    owner = await partition.owner()
    seen: list[Trying | None] = []

    def late(metadata: CommitMetadata) -> bool:
        seen.append(metadata.trying)
        if metadata.trying == Trying(1, 2, 2):
            partition.membership.held = False  # the lease ends while the answer is awaited
        return True

    partition.answers = late
    await owner.read()
    raised = seen.index(Trying(1, 2, 2))
    assert seen[raised + 1] == Trying(1, 2, 1)
    await owner.kill()


async def test_a_record_that_kills_is_given_up_and_stays_so() -> None:
    partition = Partition("a", DEADLY, "b")
    deaths = 0
    while not partition.dead_letters:
        owner = await partition.owner()
        await owner.read()
        deaths += owner.gone
        assert deaths <= POISON_AFTER + 20  # those of a slow machine do not count
        if not owner.gone:
            await owner.until(lambda: bool(partition.dead_letters))
            await owner.kill()
    assert partition.dead_letters == [("poison", 2)]
    # The realtime service is away: the committed offset stays before the record, which is read again.
    for _ in range(3):
        assert partition.committed[0] <= 2
        assert partition.metadata.poison == (2,)
        owner = await partition.owner()
        await owner.read()
        assert not owner.gone
        await owner.drain()


async def test_an_error_of_something_else_costs_no_record() -> None:
    partition = Partition("a", "b")
    owner = await partition.owner()
    pipeline: Any = RaisesAfterFeeding(owner.worker._parts, Limits())
    owner.worker.pipeline = pipeline
    owner.worker.pipeline.begin(0, len(partition.log), clean=True)
    owner.worker.feed(partition.log[:1], 1)
    assert (owner.worker.state, owner.worker._careful.poison) == (WorkerState.TAKING_OVER, {})
    await owner.until(lambda: owner.worker.running)
    await owner.read()
    await owner.kill()
    assert partition.dead_letters == []


async def test_an_error_that_comes_again_after_a_record_was_taken_ends_the_owner() -> None:
    partition = Partition("a", "b")
    plain = await partition.owner()
    await plain.kill()
    raises: Any = RaisesAfterFeeding
    owner = Owner(partition, PartitionWorker(0, plain.worker._parts, plain.worker._writer, Limits(), raises))
    await owner.until(lambda: owner.worker.running)
    owner.worker.feed(partition.log[:1], 1)
    await owner.until(lambda: owner.worker.running)
    owner.worker.feed(partition.log, len(partition.log))
    with pytest.raises(MemoryError):
        await owner.task
    assert partition.dead_letters == []


class HungPartition(Partition):
    """Kafka takes no transactional producer, and closing a client swallows a cancellation, as aiokafka's does."""

    starts = 0

    async def start(self) -> None:
        self.starts += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as cancelled:
            raise KafkaUnavailable("starting the transactional producer failed") from cancelled


async def test_a_takeover_ends_although_a_client_swallows_its_cancellation() -> None:
    partition = HungPartition()
    worker = partition.worker()
    task = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        while not partition.starts:
            await asyncio.sleep(0)
        assert await worker.drain(1.0) is False
        task.cancel()
        with pytest.raises(PartitionLost):
            await task
    assert partition.starts == 1
