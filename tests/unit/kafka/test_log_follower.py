"""Following a log that is damaged, lost in part or created again, and reading its tail."""

import asyncio
import gc
import warnings

import pytest

from processor.errors import KafkaUnavailable
from processor.kafka.connection import KafkaConnection
from processor.kafka.log_follower import LogFollower, LogTail
from processor.kafka.record_batches import HOLD
from processor.ports.followed import FollowedRecord
from support.broker import TOPIC, Broker
from support.virtual_time import in_virtual_time


def following(broker: Broker) -> LogFollower:
    return LogFollower(lambda: KafkaConnection("nowhere"), TOPIC, make=broker.consumer)


async def read(follower: LogFollower, count: int, within: float = 2.0) -> list[FollowedRecord]:
    """That many records. Raises what the follower raises, TimeoutError."""
    found: list[FollowedRecord] = []
    async with asyncio.timeout(within):
        while len(found) < count:
            found += await follower.fetch(100, 0.1)
    return found


async def until_it_raises(follower: LogFollower, within: float = 2.0) -> str:
    async with asyncio.timeout(within):
        while True:
            try:
                await follower.fetch(100, 0.1)
            except KafkaUnavailable as error:
                return str(error)


def values(records: list[FollowedRecord]) -> list[bytes | None]:
    return [record.value for record in records]


def with_a_damaged_batch() -> Broker:
    """Its first partition has three batches, and the second of them is damaged."""
    broker = Broker()
    broker.logs[0].write(b"a")
    broker.logs[0].write(b"b", damaged=True)
    broker.logs[0].write(b"c")
    return broker


@in_virtual_time
async def test_a_log_that_lost_its_end_is_not_read_on_without_a_word() -> None:
    broker = Broker()
    broker.logs[0].write(b"a", b"b", b"c")
    follower = following(broker)
    await follower.start({})
    await read(follower, 3)
    broker.logs[0].lose_all()
    broker.logs[0].write(b"d")
    assert "begins again at their first" in await until_it_raises(follower)
    assert await follower.start({0: 3}) == {0: 0}
    assert values(await read(follower, 1)) == [b"d"]
    await follower.stop()


@in_virtual_time
async def test_another_log_is_read_from_its_first_record_however_long_it_is_by_then() -> None:
    broker = Broker()
    broker.logs[0].write(b"a", b"b", b"c")
    follower = following(broker)
    await follower.start({})
    await read(follower, 3)
    broker.logs[0].lose_all()
    await until_it_raises(follower)
    broker.logs[0].write(b"d", b"e", b"f", b"g")
    assert await follower.start({0: 3}) == {0: 0}
    assert await follower.start({0: 3}) == {0: 3}
    await follower.stop()


@in_virtual_time
async def test_a_damaged_batch_stops_its_own_partition_alone() -> None:
    broker = Broker(2)
    follower = following(broker)
    await follower.start({})
    broker.logs[0].write(b"damaged", damaged=True)
    for number in range(100):
        broker.logs[1].write(b"%d" % number)
        await read(follower, 1)
        await asyncio.sleep(0.2)
    assert list(follower.troubles) == [0]
    assert f"{TOPIC}-0 can't be read at offset 0: the checksum of the batch is wrong" in follower.troubles[0]
    assert f"tokenstream skip 0 0 --topic {TOPIC}" in follower.troubles[0]
    assert len(broker.made) == 1
    await follower.stop()


@in_virtual_time
async def test_a_restored_log_is_read_on() -> None:
    broker = Broker()
    broker.logs[0].write(b"a", damaged=True)
    follower = following(broker)
    await follower.start({})
    assert await follower.fetch(100, 0.1) == []
    assert follower.troubles
    broker.logs[0].lose_all()
    broker.logs[0].write(b"a")
    assert values(await read(follower, 1, within=2 * HOLD)) == [b"a"]
    assert not follower.troubles
    await follower.stop()


@in_virtual_time
async def test_a_batch_that_was_given_up_is_passed() -> None:
    broker = with_a_damaged_batch()
    follower = following(broker)
    await follower.start({})
    await read(follower, 1)
    broker.logs[0].delete_before(2)
    await until_it_raises(follower, within=2 * HOLD)
    assert await follower.start({0: 1}) == {0: 2}
    assert values(await read(follower, 1)) == [b"c"]
    assert not follower.troubles
    await follower.stop()


@in_virtual_time
async def test_a_task_of_the_client_that_failed_is_noticed_and_its_connections_are_closed() -> None:
    broker = Broker()
    follower = following(broker)
    await follower.start({})
    broker.failure = LookupError("whatever a part of the client raises")
    assert "a task of the client failed" in await until_it_raises(follower)
    await follower.start({})
    assert [made.closed for made in broker.made] == [True, False]
    broker.logs[0].write(b"a")
    assert values(await read(follower, 1)) == [b"a"]
    await follower.stop()


@in_virtual_time
async def test_a_client_that_no_longer_learns_of_leaders_is_noticed() -> None:
    broker = Broker()
    follower = following(broker)
    await follower.start({})
    broker.made[0]._client._sync_task.cancel()
    assert "a task of the client failed" in await until_it_raises(follower)
    await follower.stop()


@in_virtual_time
async def test_a_tail_is_read_without_a_damaged_batch() -> None:
    broker = with_a_damaged_batch()
    tail = LogTail(lambda: KafkaConnection("nowhere"), TOPIC, make=broker.consumer)
    found: list[FollowedRecord] = []
    async with asyncio.timeout(2.0):
        await tail.read(0, 0, 3, found.extend)
    assert values(found) == [b"a", b"c"]
    await tail.stop()


@in_virtual_time
async def test_a_tail_of_a_log_that_was_lost_is_not_another_one() -> None:
    broker = Broker()
    broker.logs[0].write(b"a", b"b", b"c")
    tail = LogTail(lambda: KafkaConnection("nowhere"), TOPIC, make=broker.consumer)
    await tail.bounds(0)
    broker.logs[0].lose_all()
    broker.logs[0].write(b"d")
    found: list[FollowedRecord] = []
    with pytest.raises(KafkaUnavailable):
        await tail.read(0, 2, 3, found.extend)
    assert not found
    await tail.stop()


async def test_a_tail_that_can_not_be_read_leaves_no_client_open() -> None:
    tail = LogTail(lambda: KafkaConnection("127.0.0.1:1"), "frames")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(KafkaUnavailable):
            await tail.bounds(0)
        gc.collect()
    assert not [str(each.message) for each in warned if "Unclosed" in str(each.message)]
