"""Which ends of a partition's owners count against a record: those alone that hardly anything else can have caused."""

import asyncio
from typing import Any

import pytest

from processor.core.limits import Limits
from processor.errors import KafkaUnavailable, PartitionLost
from processor.relay.caution import POISON_AFTER, PROMPT_SECONDS
from processor.relay.commit_metadata import CommitMetadata, Trying
from processor.relay.worker import PartitionWorker, WorkerState
from support.partition_owners import DEADLY, Owner, Partition, RaisesAfterConsuming
from support.virtual_time import in_virtual_time
from support.world import LogRecord

pytestmark = pytest.mark.timeout(60)


LONG = tuple("x" * 200 for _ in range(60))


@in_virtual_time
async def test_handovers_during_an_outage_blame_no_record() -> None:
    partition = Partition(*LONG)
    for _ in range(5):
        owner = await partition.owner(Limits(buffered=len(LONG) * 300))
        await owner.read()
        assert owner.worker.pipeline.paused
        await owner.drain()
        assert partition.metadata == CommitMetadata(partition.metadata.restore)
    assert partition.dead_letters == []


@in_virtual_time
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


@in_virtual_time
async def test_a_record_that_was_never_fed_is_not_blamed() -> None:
    partition = Partition("a", "b", metadata=CommitMetadata(attempts=1))
    partition.answers = lambda metadata: metadata.trying is None
    for _ in range(8):
        owner = await partition.owner()
        partition.answers = lambda _: False
        owner.worker.consume(partition.log, len(partition.log))
        await owner.until(lambda: partition.metadata.trying is not None)
        partition.membership.held = False
        await owner.drain()
        assert owner.worker.pipeline.position == 0
        assert partition.metadata.trying == Trying(0, 1, 0)
        partition.answers = lambda _: True
    assert partition.dead_letters == []


@in_virtual_time
async def test_ends_beside_a_suspect_do_not_count_against_it() -> None:
    suspicion = Trying(1, 2, POISON_AFTER - 1)
    partition = Partition("a", "b", metadata=CommitMetadata(attempts=3, trying=suspicion))
    for _ in range(4):
        owner = await partition.owner()
        owner.worker.consume(partition.log, len(partition.log))
        await owner.until_fed_up_to(1)
        await owner.until(lambda: partition.metadata.trying == suspicion)
        await owner.kill()
        assert partition.metadata.trying == suspicion


@in_virtual_time
async def test_what_kafka_refuses_to_take_of_a_record_does_not_count_against_it() -> None:
    suspicion = Trying(3, 4, POISON_AFTER - 1)
    partition = Partition("a", "b", metadata=CommitMetadata(attempts=3, trying=suspicion))
    partition.log[3] = LogRecord(3, b"not JSON")  # the dead letter is refused
    partition.refuses_records = True
    owner = await partition.owner()
    owner.worker.consume(partition.log, len(partition.log))
    await owner.until(lambda: owner.worker.stuck is not None)
    await owner.kill()
    assert partition.metadata.trying is None


@in_virtual_time
async def test_an_orderly_end_before_a_suspect_was_fed_keeps_its_count() -> None:
    partition = Partition("a", "b", metadata=CommitMetadata(attempts=3, trying=Trying(1, 2, 1)))
    for _ in range(2):
        owner = await partition.owner()
        owner.worker.consume(partition.log, len(partition.log))
        await owner.until_fed_up_to(1)
        await owner.drain()
        assert (partition.metadata.attempts, partition.metadata.trying) == (0, Trying(1, 2, 1))


@in_virtual_time
async def test_a_suspect_that_is_survived_is_cleared() -> None:
    partition = Partition("a", "b", metadata=CommitMetadata(attempts=3, trying=Trying(1, 2, POISON_AFTER - 1)))
    owner = await partition.owner()
    await owner.read()
    assert partition.metadata.trying is None
    await owner.kill()
    assert partition.dead_letters == []


@in_virtual_time
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


@in_virtual_time
async def test_a_count_whose_commit_took_long_is_taken_back() -> None:
    partition = Partition("a", "b", metadata=CommitMetadata(attempts=3, trying=Trying(1, 2, 1)))
    owner = await partition.owner()
    seen: list[Trying | None] = []

    def slow(metadata: CommitMetadata) -> float:
        seen.append(metadata.trying)
        return 2 * PROMPT_SECONDS if metadata.trying == Trying(1, 2, 2) else 0.0

    partition.takes = slow
    await owner.read()
    raised = seen.index(Trying(1, 2, 2))
    assert seen[raised + 1] == Trying(1, 2, 1)
    await owner.kill()


@in_virtual_time
async def test_a_record_that_kills_is_given_up_and_stays_so() -> None:
    partition = Partition("a", DEADLY, "b")
    deaths = 0
    while not partition.dead_letters:
        owner = await partition.owner()
        await owner.read()
        deaths += owner.gone
        assert deaths <= 9
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


@in_virtual_time
async def test_an_error_of_something_else_costs_no_record() -> None:
    partition = Partition("a", "b")
    owner = await partition.owner()
    pipeline: Any = RaisesAfterConsuming(owner.worker._parts, Limits())
    owner.worker.pipeline = pipeline
    owner.worker.pipeline.begin(0, len(partition.log), clean=True)
    owner.worker.consume(partition.log[:1], 1)
    assert (owner.worker.state, owner.worker._careful.poison) == (WorkerState.TAKING_OVER, {})
    await owner.until(lambda: owner.worker.running)
    await owner.read()
    await owner.kill()
    assert partition.dead_letters == []


@in_virtual_time
async def test_an_error_that_comes_again_after_a_record_was_taken_ends_the_owner() -> None:
    partition = Partition("a", "b")
    plain = await partition.owner()
    await plain.kill()
    raises: Any = RaisesAfterConsuming
    owner = Owner(partition, PartitionWorker(0, plain.worker._parts, plain.worker._writer, Limits(), raises))
    await owner.until(lambda: owner.worker.running)
    owner.worker.consume(partition.log[:1], 1)
    await owner.until(lambda: owner.worker.running)
    owner.worker.consume(partition.log, len(partition.log))
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


@in_virtual_time
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
