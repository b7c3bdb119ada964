"""What is reported of brokers that can't be fetched from, how soon another leader is found, and how often is asked."""

import asyncio
from collections.abc import Callable
from random import Random

import pytest

from support.fetch_brokers import Brokers, Reader, make_batch, place
from support.virtual_time import in_virtual_time, run_in_virtual_time

CORRUPT, UNKNOWN_TOPIC, STORAGE, UNKNOWN_LEADER_EPOCH, FENCED, REPLICA_GONE = 2, 3, 56, 75, 74, 9
UNKNOWN = -1


class Reading:
    """A reader of `partitions` that `nodes` brokers lead in turn, from offset 0."""

    def __init__(self, *, partitions: int = 1, nodes: int = 1) -> None:
        self.brokers = Brokers(Random(1), partitions=partitions, nodes=nodes)
        self.brokers.leaders = [number % nodes for number in range(partitions)]
        self.brokers.known = list(self.brokers.leaders)
        self.reader = Reader(self.brokers)
        self.reader.assign()
        for number in range(partitions):
            self.reader.state(number).seek(0)
        self.read: dict[int, int] = {}
        """Partition -> records"""

    async def turn(self) -> None:
        for partition, records in (await self.reader.fetching.fetch(2_000, 0.3)).items():
            self.read[partition.partition] = self.read.get(partition.partition, 0) + len(records)
        await asyncio.sleep(0.002)

    async def go_on(self, seconds: float) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            await self.turn()

    def append(self, number: int) -> None:
        log = self.brokers.logs[number]
        log.add(log.end, log.end, make_batch(log.end, [log.end], log.end))


@in_virtual_time
async def test_brokers_that_can_not_be_reached_are_named_after_seconds_and_forgotten_when_they_answer() -> None:
    reading = Reading(partitions=2, nodes=2)
    await reading.go_on(1)
    reading.brokers.away = {0}
    await reading.go_on(4)
    assert reading.reader.fetching.not_fetched == {}
    await reading.go_on(2)
    [(partition, cause)] = reading.reader.fetching.not_fetched.items()
    assert partition == place(0)
    assert cause.startswith("broker 0 can't be reached")
    reading.brokers.away.clear()
    await reading.go_on(2)
    assert reading.reader.fetching.not_fetched == {}


@in_virtual_time
async def test_a_partition_without_a_leader_and_one_that_is_refused_are_named() -> None:
    reading = Reading(partitions=2)
    reading.brokers.leaders[0] = reading.brokers.known[0] = None
    reading.brokers.refusals[0, 1] = UNKNOWN_TOPIC
    await reading.go_on(7)
    assert reading.reader.fetching.not_fetched == {
        place(0): "it has no leader",
        place(1): "its broker answers UnknownTopicOrPartitionError",
    }


@pytest.mark.parametrize("code", [CORRUPT, UNKNOWN_TOPIC, STORAGE, UNKNOWN_LEADER_EPOCH, FENCED, REPLICA_GONE, UNKNOWN])
def test_a_new_leader_is_found_within_seconds_whatever_the_old_one_answers(code: int) -> None:
    async def play(_: object) -> None:
        reading = Reading(nodes=2)
        reading.brokers.refusals[0, 0] = code
        await reading.go_on(2)
        reading.append(0)
        reading.brokers.leaders[0] = 1
        await reading.go_on(6)
        assert reading.read == {0: 1}

    run_in_virtual_time(play)


@in_virtual_time
async def test_a_new_leader_is_found_within_seconds_of_the_old_one_falling_silent() -> None:
    reading = Reading(nodes=2)
    reading.brokers.frozen[0] = 40.0
    reading.append(0)
    await reading.go_on(4)
    reading.brokers.leaders[0] = 1
    await reading.go_on(4)
    assert reading.read == {0: 1}


@in_virtual_time
async def test_without_fetch_sessions_a_large_batch_has_its_turn_beside_busy_partitions() -> None:
    reading = Reading(partitions=6)
    reading.brokers.session_room = 0
    last = list(reading.reader.subscriptions.subscription.assignment.tps)[-1].partition

    async def produce() -> None:
        while True:
            for number in range(6):
                if number != last:
                    reading.append(number)
            await reading.brokers.grown()
            await asyncio.sleep(0.003)

    reading.brokers.logs[last].add(0, 0, make_batch(0, [0], 0, size=3 << 20))
    producing = asyncio.ensure_future(produce())
    await reading.go_on(2)
    producing.cancel()
    assert reading.read[last] == 1


def fail_as_a_whole(brokers: Brokers) -> None:
    brokers.error = UNKNOWN


def lose_a_leader(brokers: Brokers) -> None:
    brokers.leaders[0] = brokers.known[0] = None


def be_away(brokers: Brokers) -> None:
    brokers.away = {0}


@pytest.mark.parametrize("fail", [fail_as_a_whole, lose_a_leader, be_away])
def test_what_fails_is_asked_for_ten_times_a_second_at_most(fail: Callable[[Brokers], None]) -> None:
    async def play(_: object) -> None:
        reading = Reading(partitions=1)
        fail(reading.brokers)
        await reading.go_on(10)
        assert reading.brokers.requests <= 105
        assert 10 <= reading.brokers.looks <= 105

    run_in_virtual_time(play)


@in_virtual_time
async def test_a_broker_that_stays_away_is_asked_less_often_and_each_retry_is_counted() -> None:
    reading = Reading()
    be_away(reading.brokers)
    await reading.go_on(1)
    first = reading.brokers.requests
    await reading.go_on(10)
    assert first >= 4
    assert 20 <= reading.brokers.requests - first <= 41
    assert reading.reader.retries == reading.brokers.requests


@in_virtual_time
async def test_a_broker_that_answered_is_asked_again_at_once_when_it_fails() -> None:
    reading = Reading()
    be_away(reading.brokers)
    await reading.go_on(5)
    reading.brokers.away.clear()
    await reading.go_on(2)
    be_away(reading.brokers)
    before = reading.brokers.requests
    await reading.go_on(1)
    assert reading.brokers.requests - before >= 4


@in_virtual_time
async def test_a_refused_partition_does_not_delay_the_others_of_its_broker() -> None:
    reading = Reading(partitions=2)
    reading.brokers.refusals[0, 1] = STORAGE
    await reading.go_on(5)
    for read in range(1, 6):
        reading.append(0)
        await reading.brokers.grown()
        appended = asyncio.get_running_loop().time()
        while reading.read != {0: read}:
            await reading.turn()
        assert asyncio.get_running_loop().time() - appended < 0.15


@in_virtual_time
async def test_beside_a_busy_partition_leaders_are_looked_for_ten_times_a_second_at_most() -> None:
    reading = Reading(partitions=2)
    lose_a_leader(reading.brokers)
    for _ in range(1_000):
        reading.append(1)
        await reading.brokers.grown()
        await reading.turn()
    seconds = asyncio.get_running_loop().time()
    assert reading.brokers.looks <= 10 * seconds + 5


@in_virtual_time
async def test_nothing_is_asked_for_after_the_end() -> None:
    reading = Reading()
    last = asyncio.ensure_future(reading.reader.fetching.fetch(10, 0.3))
    await asyncio.sleep(0.05)
    asked = reading.brokers.requests
    await reading.reader.fetching.close()
    await last
    await asyncio.sleep(1)
    assert reading.brokers.requests == asked


@in_virtual_time
async def test_a_refusal_of_an_earlier_position_is_not_raised() -> None:
    """As after a rebalance: the position has been set since."""
    reading = Reading()
    reading.brokers.logs[0].start = reading.brokers.logs[0].end = 5
    asking = asyncio.ensure_future(reading.reader.fetching.fetch(10, 0.3))
    await asyncio.sleep(0)
    reading.reader.state(0).seek(5)
    assert await asking == {}
