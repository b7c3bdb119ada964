"""Whatever stands for Kafka keeps the contracts of `processor.ports.log`: the adapter with a broker, and the simulation's clients."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from processor.core.response import Raw
from processor.errors import KafkaUnavailable, PartitionLost
from processor.ports.log import PartitionWriter, Record, TokensConsumer
from support.kafka_stages import PARTITIONS, SESSION, KafkaStage, Scenario, on_kafka, on_simulation
from support.waiting import until
from topics.specs import TopicNames

Play = Callable[[Scenario], None]


@pytest.fixture(params=["simulation", "kafka"])
def on_stage(request: pytest.FixtureRequest) -> Play:
    if request.param == "simulation":
        return on_simulation
    kafka: LocalKafka = request.getfixturevalue("kafka")
    make_topics: MakeTopics = request.getfixturevalue("make_topics")
    names = asyncio.run(_made(make_topics))
    return lambda scenario: on_kafka(scenario, kafka.bootstrap, names)


async def _made(make_topics: MakeTopics) -> TopicNames:
    return await make_topics(partitions=PARTITIONS)


class Owner:
    """As the relay: pauses what it is assigned, and takes part in nothing else."""

    def __init__(self, consumer: TokensConsumer) -> None:
        self.consumer = consumer
        self.assigned: list[Sequence[int]] = []
        self.revoked: list[Sequence[int]] = []
        self.beats_while_revoked = 0
        self.waits_for_a_beat_at: Callable[[], float] | None = None

    async def on_partitions_assigned(self, numbers: Sequence[int]) -> None:
        self.consumer.pause(*numbers)
        self.assigned.append(list(numbers))

    async def on_partitions_revoked(self, numbers: Sequence[int]) -> None:
        self.revoked.append(list(numbers))
        if numbers and self.waits_for_a_beat_at is not None:
            async with asyncio.timeout(SESSION):
                await self.consumer.membership.heartbeat_after(self.waits_for_a_beat_at())
            self.beats_while_revoked += 1

    @property
    def owns(self) -> Sequence[int]:
        return self.assigned[-1] if self.assigned else []


async def fetched(consumer: TokensConsumer, count: int, within: float = 30.0) -> dict[int, list[Raw]]:
    """So many records, and no more."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    found: dict[int, list[Raw]] = {}
    while sum(map(len, found.values())) < count:
        assert loop.time() < deadline, f"{found} within {within} s"
        for number, records in (await fetch(consumer)).items():
            found.setdefault(number, []).extend(records)
    assert sum(map(len, found.values())) == count
    return found


async def fetch(consumer: TokensConsumer) -> dict[int, Sequence[Raw]]:
    """What one fetch brings. One that fails is tried again from where the partitions were, as the relay does."""
    positions = {number: consumer.reached(number) for number in consumer.assigned}
    while True:
        try:
            return dict(await consumer.fetch(100, 0.2))
        except KafkaUnavailable:
            for number, position in positions.items():
                if position is not None:
                    consumer.seek(number, position)


@asynccontextmanager
async def member(stage: KafkaStage) -> AsyncIterator[tuple[TokensConsumer, Owner]]:
    """Joined, with all partitions."""
    consumer = stage.consumer()
    owner = Owner(consumer)
    await consumer.start(owner)
    try:
        await until(lambda: owner.owns)
        for number in owner.owns:
            consumer.seek(number, 0)
        yield consumer, owner
    finally:
        await consumer.stop()


async def started(stage: KafkaStage, number: int) -> PartitionWriter:
    writer = stage.writer_of(number)
    assert not writer.started
    await writer.start()
    assert writer.started
    return writer


# Membership and assignments


def test_a_member_is_assigned_all_partitions_and_holds_the_lease(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        async with member(stage) as (consumer, owner):
            assert owner.assigned == [list(range(PARTITIONS))]
            assert consumer.assigned == frozenset(range(PARTITIONS))
            for _ in range(2):
                async with asyncio.timeout(SESSION):
                    await consumer.membership.heartbeat_after(stage.now())
                assert consumer.membership.holds()
                assert consumer.membership.silence() < SESSION
            assert not consumer.membership.ended
            assert await consumer.reachable()

    on_stage(scenario)


def test_a_consumer_that_has_not_started_holds_no_lease(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        consumer = stage.consumer()
        assert not consumer.membership.holds()
        assert consumer.assigned == frozenset()
        assert consumer.patience > SESSION
        consumer.membership.rejoin()
        await consumer.stop()

    on_stage(scenario)


def test_a_rejoin_revokes_and_assigns_again_while_heartbeats_go_on(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        async with member(stage) as (consumer, owner):
            async with asyncio.timeout(SESSION):
                await consumer.membership.heartbeat_after(stage.now())
            owner.waits_for_a_beat_at = stage.now
            consumer.membership.rejoin()
            await until(lambda: len(owner.assigned) == 2)
            assert [each for each in owner.revoked if each] == [list(range(PARTITIONS))]
            assert owner.beats_while_revoked == 1

    on_stage(scenario)


def test_two_members_share_the_partitions_and_one_that_leaves_gives_them_back(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        async with member(stage) as (first, ours):
            second = stage.consumer()
            theirs = Owner(second)
            await second.start(theirs)
            polling = asyncio.get_running_loop().create_task(poll(second))
            await until(lambda: len(ours.owns) == len(theirs.owns) == 1)
            assert sorted([*ours.owns, *theirs.owns]) == [0, 1]
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)
            await second.stop()
            await until(lambda: len(ours.owns) == PARTITIONS)
            assert len(first.assigned) == PARTITIONS

    on_stage(scenario)


async def poll(consumer: TokensConsumer) -> None:
    while True:
        await fetch(consumer)


# Records


def test_records_come_once_in_order_with_all_that_is_kept_of_them(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        await stage.produce(0, b"a", b"b")
        await stage.produce(1, b"c")
        async with member(stage) as (consumer, owner):
            consumer.resume(*owner.owns)
            found = await fetched(consumer, 3)
            assert [(raw.offset, raw.value) for raw in found[0]] == [(0, b"a"), (1, b"b")]
            assert [(raw.offset, raw.value) for raw in found[1]] == [(0, b"c")]
            first = found[0][0]
            assert (first.key, list(first.headers or ())) == (b"k", [("h", b"x")])
            assert first.timestamp is not None
            await stage.produce(0, b"d")
            assert [raw.offset for raw in (await fetched(consumer, 1))[0]] == [2]
            await until(lambda: consumer.reached(0) == 3)
            assert consumer.troubles == {}

    on_stage(scenario)


def test_a_paused_partition_is_left_out_until_it_is_resumed(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        async with member(stage) as (consumer, _):
            await stage.produce(0, b"a")
            await stage.produce(1, b"b")
            consumer.resume(1)
            consumer.pause(7)
            assert list(await fetched(consumer, 1)) == [1]
            assert await fetch(consumer) == {}
            consumer.resume(0)
            assert list(await fetched(consumer, 1)) == [0]

    on_stage(scenario)


def test_after_a_seek_the_next_fetch_begins_there(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        await stage.produce(0, b"a", b"b", b"c")
        async with member(stage) as (consumer, _):
            consumer.resume(0)
            await fetched(consumer, 3)
            consumer.seek(0, 1)
            assert [raw.offset for raw in (await fetched(consumer, 2))[0]] == [1, 2]

    on_stage(scenario)


def test_offsets_of_the_log_count_open_transactions_and_markers(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        async with member(stage) as (consumer, _):
            assert (await consumer.first_offset(0), await consumer.end_offset(0)) == (0, 0)
            await stage.produce(0, b"a")
            end = await stage.produce_open(0, b"b")
            assert (await consumer.first_offset(0), await consumer.end_offset(0)) == (0, 2)
            consumer.resume(0)
            assert [raw.value for raw in (await fetched(consumer, 1))[0]] == [b"a"]
            await end(False)
            await becomes(lambda: consumer.end_offset(0), 3)
            assert await fetch(consumer) == {}
            await until_reached(consumer, 3)

    on_stage(scenario)


async def until_reached(consumer: TokensConsumer, offset: int) -> None:
    """The position passes what no record stands for, as long as it is fetched."""
    for _ in range(100):
        if consumer.reached(0) == offset:
            return
        assert await fetch(consumer) == {}
    raise AssertionError(f"{consumer.reached(0)}, not {offset}")


def test_a_committed_transaction_is_read_and_seen_at_the_high_water(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        async with member(stage) as (consumer, _):
            end = await stage.produce_open(0, b"a")
            consumer.resume(0)
            assert await fetch(consumer) == {}
            await end(True)
            assert [raw.value for raw in (await fetched(consumer, 1))[0]] == [b"a"]
            await until_reached(consumer, 2)
            assert (consumer.high_water(0) or 0) >= 1

    on_stage(scenario)


# Writing and reading back


def record(stage: KafkaStage, key: bytes, value: bytes | None, partition: int = 0) -> Record:
    return Record(stage.responses_topic, partition, key, value, ())


async def read(
    stage: KafkaStage, start: int = 0, *, only: bool = False
) -> tuple[int, list[tuple[int, bytes, bytes | None]]]:
    reader, found = stage.responses(), []
    end = await reader.read(0, start, lambda *one: found.append(one), only=only)
    await reader.close()
    return end, found


async def keys(stage: KafkaStage) -> list[bytes]:
    return [key for _, key, _ in (await read(stage))[1]]


async def values(stage: KafkaStage) -> list[bytes | None]:
    return [value for _, _, value in (await read(stage))[1]]


async def committed(stage: KafkaStage, number: int = 0) -> tuple[int, str] | None:
    reader = stage.offsets()
    found = await reader.read(number)
    await reader.close()
    return found


async def becomes(look: Callable[[], Awaitable[object]], expected: object) -> None:
    """What a transaction wrote shows soon after its end, and not at once."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 20
    while (found := await look()) != expected:
        assert loop.time() < deadline, f"{found}, not {expected}"
        await asyncio.sleep(0.05)


def test_where_nothing_was_committed_there_is_none(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        assert await committed(stage) is None
        assert await read(stage) == (0, [])

    on_stage(scenario)


def test_records_and_offset_are_written_together(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        writer, offsets = await started(stage, 0), list[Sequence[int]]()

        def commit(written: Sequence[int]) -> tuple[int, str]:
            offsets.append(list(written))
            return 7, "metadata"

        records = [record(stage, b"r1", b"{}"), record(stage, b"r2", None)]
        assert await writer.write(records, commit) == (7, "metadata")
        assert offsets == [[0, 1]]
        await becomes(lambda: committed(stage), (7, "metadata"))
        assert await committed(stage, 1) is None
        await becomes(lambda: keys(stage), [b"r1", b"r2"])
        end, found = await read(stage)
        assert found == [(0, b"r1", b"{}"), (1, b"r2", None)]
        assert end in {2, 3}, "the end of the records, or of the marker"
        await writer.stop()
        await writer.stop()
        assert not writer.started

    on_stage(scenario)


def test_a_transaction_without_records_commits_an_offset(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        writer = await started(stage, 1)
        assert await writer.write([], lambda written: (len(written), "m")) == (0, "m")
        await becomes(lambda: committed(stage, 1), (0, "m"))
        await writer.stop()

    on_stage(scenario)


def test_a_stretch_of_records_is_read_from_its_start(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        writer = await started(stage, 0)
        for number in range(3):
            await writer.write([record(stage, b"r%d" % number, b"{}")], lambda _: (1, ""))
        await writer.stop()
        await becomes(lambda: keys(stage), [b"r0", b"r1", b"r2"])
        _, found = await read(stage)
        offsets = [offset for offset, _, _ in found]
        assert [key for _, key, _ in (await read(stage, offsets[1]))[1]] == [b"r1", b"r2"]
        assert [key for _, key, _ in (await read(stage, offsets[1], only=True))[1]] == [b"r1"]
        assert (await read(stage, offsets[2] + 1))[1] == []

    on_stage(scenario)


def test_a_later_writer_fences_an_earlier_one(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        first = await started(stage, 0)
        await first.write([record(stage, b"r", b"1")], lambda _: (1, "first"))
        second = await started(stage, 0)
        with pytest.raises(PartitionLost):
            await first.write([record(stage, b"r", b"2")], lambda _: (9, "stale"))
        assert not first.started
        await second.write([record(stage, b"r", b"3")], lambda _: (2, "second"))
        await becomes(lambda: committed(stage), (2, "second"))
        await becomes(lambda: values(stage), [b"1", b"3"])
        await second.stop()

    on_stage(scenario)


def test_writers_of_other_partitions_are_left_alone(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        first, second = await started(stage, 0), await started(stage, 1)
        await first.write([], lambda _: (1, "a"))
        await second.write([], lambda _: (2, "b"))
        await becomes(lambda: committed(stage, 0), (1, "a"))
        await becomes(lambda: committed(stage, 1), (2, "b"))
        await first.stop()
        await second.stop()

    on_stage(scenario)


def test_what_fails_inside_a_transaction_leaves_nothing(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        writer = await started(stage, 0)

        def fails(_: Sequence[int]) -> tuple[int, str]:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await writer.write([record(stage, b"r", b"lost")], fails)
        assert not writer.started
        with pytest.raises(KafkaUnavailable):
            await writer.write([], lambda _: (1, ""))
        await writer.start()
        await writer.write([record(stage, b"r", b"kept")], lambda _: (1, "kept"))
        await becomes(lambda: committed(stage), (1, "kept"))
        await becomes(lambda: values(stage), [b"kept"])
        await writer.stop()

    on_stage(scenario)
