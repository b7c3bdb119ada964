"""Tests every implementation of `processor.ports.log`: the adapter with a broker, and the simulation's clients."""

import asyncio
from collections.abc import Mapping

import pytest

from processor.core.response import Raw
from processor.errors import KafkaUnavailable, RecordsGone
from processor.ports.log import TokensConsumer
from support.kafka_scenarios import Owner, Play, becomes, fetch, fetched, member
from support.kafka_stages import PARTITIONS, SESSION, KafkaStage
from support.waiting import until

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


def test_a_consumer_that_is_stopped_while_it_connects_joins_nothing(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        consumer = stage.consumer()
        owner = Owner(consumer)
        starting = asyncio.get_running_loop().create_task(consumer.start(owner))
        await asyncio.sleep(0)
        await consumer.stop()
        with pytest.raises(KafkaUnavailable):
            await starting
        assert owner.assigned == []
        async with member(stage) as (other, _):
            assert other.assigned == frozenset(range(PARTITIONS))

    on_stage(scenario)


def test_a_client_that_has_ended_is_renewed_and_joins_again(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        async with member(stage) as (consumer, owner):
            await stage.produce(0, b"a")
            membership = consumer.membership
            stage.end_client(consumer)
            await until(lambda: membership.ended)
            assert await consumer.reachable()
            await consumer.renew()
            await consumer.start(owner)
            await until(lambda: len(owner.assigned) == 2)
            assert not membership.ended
            await takes_part(stage, consumer)
            assert consumer.membership is membership
            assert [each for each in owner.revoked if each] == [], "renew left that to the listener"

    on_stage(scenario)


async def takes_part(stage: KafkaStage, consumer: TokensConsumer) -> None:
    """Has all partitions, and reads the one record of the first."""
    assert consumer.assigned == frozenset(range(PARTITIONS))
    async with asyncio.timeout(SESSION):
        await consumer.membership.heartbeat_after(stage.now())
    assert consumer.membership.holds()
    consumer.seek(0, 0)
    consumer.resume(0)
    assert [raw.value for raw in (await fetched(consumer, 1))[0]] == [b"a"]


def test_while_kafka_is_cut_off_a_client_is_renewed_but_not_started(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        async with member(stage) as (consumer, owner):
            await stage.produce(0, b"a")
            stage.cut()
            assert not await consumer.reachable()
            await consumer.renew()
            await consumer.renew()
            for _ in range(2):
                with pytest.raises(KafkaUnavailable):
                    await consumer.start(owner)
            assert len(owner.assigned) == 1
            stage.restore()
            assert await consumer.reachable()
            await consumer.start(owner)
            await until(lambda: len(owner.assigned) == 2)
            await takes_part(stage, consumer)

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


def test_records_deleted_unread_are_reported_and_keep_no_others_back(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        await stage.produce(0, b"a", b"b", b"c")
        await stage.produce(1, b"d")
        await stage.trim(stage.tokens_topic, 0, 2)
        async with member(stage) as (consumer, owner):
            consumer.resume(*owner.owns)
            refused, found = await fetched_beside_refusals(consumer)
            assert refused == {0: 0}
            assert [(number, raw.value) for number, raw in found] == [(1, b"d")]
            assert consumer.reached(0) == 0
            consumer.seek(0, await consumer.first_offset(0))
            assert [(raw.offset, raw.value) for raw in (await fetched(consumer, 1))[0]] == [(2, b"c")]

    on_stage(scenario)


def test_a_damaged_record_stops_its_partition_alone_and_is_named(on_stage: Play) -> None:
    async def scenario(stage: KafkaStage) -> None:
        await stage.produce(0, b"a", b"damaged", b"b")
        await stage.damage(0, 1, b"damaged")
        async with member(stage) as (consumer, owner):
            consumer.resume(*owner.owns)
            assert [raw.value for raw in (await fetched(consumer, 1))[0]] == [b"a"]
            await stage.produce(1, b"c")
            assert [raw.value for raw in (await fetched(consumer, 1))[1]] == [b"c"]
            assert list(consumer.troubles) == [0]
            assert "can't be read at offset 1" in consumer.troubles[0]
            assert consumer.reached(0) == 1
            consumer.seek(0, 2)
            assert [raw.value for raw in (await fetched(consumer, 1))[0]] == [b"b"]
            assert consumer.troubles == {}

    on_stage(scenario)


async def fetched_beside_refusals(consumer: TokensConsumer) -> tuple[Mapping[int, int], list[tuple[int, Raw]]]:
    """Fetches until records are found to be deleted, and others come."""
    refused, found = dict[int, int](), list[tuple[int, Raw]]()
    async with asyncio.timeout(20):
        while not (refused and found):
            try:
                found += [(number, raw) for number, records in (await fetch(consumer)).items() for raw in records]
            except RecordsGone as error:
                refused |= error.positions
    return refused, found


async def until_reached(consumer: TokensConsumer, offset: int) -> None:
    """The position passes offsets without a record, while it is fetched."""
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
