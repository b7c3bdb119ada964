"""Whatever brokers, leaders and groups do, the fetches of a consumer bring each visible record once and in order."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from random import Random

import pytest
from aiokafka.errors import OffsetOutOfRangeError

from processor.errors import Fatal
from processor.kafka.fetching import Fetching
from simulation.planted import module_with
from simulation.plants import Plant
from support.fetch_brokers import SESSIONS, Brokers, Reader
from support.virtual_time import run_in_virtual_time

SEEDS = 60
SHOWS_WHAT_IS_ABORTED = Plant(
    "shows what is aborted", SEEDS, "processor.kafka.fetching", (("self._aborted(rest))", "[])"),)
)
IDLE_REQUESTS = 20
"""A second, of up to three brokers; a fetch without patience would make hundreds."""


class Wrong(Fatal):
    """The reader's expectation is not met."""


class Play:
    """One run: what happens is drawn from the seed."""

    def __init__(self, seed: int, fetching: type[Fetching]) -> None:
        self.random = Random(seed)
        self.brokers = Brokers(
            self.random, partitions=self.random.choice((1, 3, 5)), nodes=self.random.choice((1, 2, 3))
        )
        self.reader = Reader(self.brokers, fetching)
        self.numbers = range(len(self.brokers.logs))
        self.expected: dict[int, int] = {}

    async def run(self) -> None:
        self.reader.assign()
        for number in self.numbers:
            self.seek(number, 0)
        happening = asyncio.ensure_future(self.happen())
        while not happening.done():
            await self.turn()
            await asyncio.sleep(self.random.choice((0.002, 0)))
        happening.result()
        await self.calm_down()
        await self.read_to_the_end()
        await self.stay_idle()
        await self.reader.fetching.close()

    # The reader

    def seek(self, number: int, offset: int) -> None:
        self.reader.state(number).seek(offset)
        self.expected[number] = offset

    async def turn(self) -> None:
        try:
            drained = await self.reader.fetching.fetch(self.random.choice((1, 3, 2_000)), 0.3)
        except OffsetOutOfRangeError as error:
            for partition in error.args[0]:
                self.seek(partition.partition, self.brokers.logs[partition.partition].start)
            return
        for partition, records in drained.items():
            number = partition.partition
            if self.reader.state(number).paused:
                raise Wrong(f"{number} is paused")
            for record in records:
                self.take(number, record.offset)
        for number in self.numbers:
            state = self.reader.state(number)
            if state.has_valid_position and not state.paused:
                self.demand_all_before(number, state.position)

    def take(self, number: int, offset: int) -> None:
        if offset < self.expected[number]:
            raise Wrong(f"{number}: {offset} again")
        if offset not in self.brokers.logs[number].visible:
            raise Wrong(f"{number}: {offset} is not visible")
        self.demand_all_before(number, offset)
        self.expected[number] = offset + 1

    def demand_all_before(self, number: int, offset: int) -> None:
        missing = [each for each in self.unread(number) if each < offset]
        if missing:
            raise Wrong(f"{number}: at {offset}, and {missing} were not read")

    def unread(self, number: int) -> list[int]:
        log = self.brokers.logs[number]
        return sorted(each for each in log.visible if each >= max(self.expected[number], log.start))

    # What happens to it

    async def happen(self) -> None:
        kinds: list[Callable[[int], Awaitable[None]]] = []
        kinds += [self.append] * 6 + [self.in_transaction] * 2 + [self.end_transaction] * 2 + [self.resume] * 2
        kinds += [self.pause, self.seek_somewhere, self.move_leader, self.lose_leader, self.evict, self.fill_cache]
        kinds += [self.lose_requests, self.delete, self.rebalance]
        for _ in range(self.random.randint(50, 120)):
            await asyncio.sleep(self.random.choice((0, 0.001, 0.004, 0.05, 0.3)))
            await self.random.choice(kinds)(self.random.choice(self.numbers))
            await self.brokers.grown()

    async def append(self, number: int) -> None:
        self.brokers.logs[number].append(self.random)

    async def in_transaction(self, number: int) -> None:
        self.brokers.logs[number].append_in_transaction(self.random)

    async def end_transaction(self, number: int) -> None:
        self.brokers.logs[number].finish_transaction(self.random)

    async def pause(self, number: int) -> None:
        self.reader.state(number).pause()

    async def resume(self, number: int) -> None:
        self.reader.state(number).resume()

    async def seek_somewhere(self, number: int) -> None:
        log = self.brokers.logs[number]
        self.seek(number, self.random.choice((self.random.randint(log.start, log.end), self.expected[number])))

    async def move_leader(self, number: int) -> None:
        self.brokers.leaders[number] = self.random.randrange(self.brokers.nodes)

    async def lose_leader(self, number: int) -> None:
        self.brokers.known[number] = self.random.choice((None, -1))

    async def evict(self, _: int) -> None:
        self.brokers.evict_sessions(self.random.randrange(self.brokers.nodes))

    async def fill_cache(self, _: int) -> None:
        self.brokers.session_room = self.random.choice((0, SESSIONS))

    async def lose_requests(self, _: int) -> None:
        self.brokers.failing = self.random.choice((0, 0, 0.2))

    async def delete(self, number: int) -> None:
        log = self.brokers.logs[number]
        log.start = self.random.randint(log.start, log.stable_end)

    async def rebalance(self, _: int) -> None:
        self.reader.subscriptions.begin_reassignment()
        await asyncio.sleep(self.random.choice((0, 0.1, 0.5)))
        before = dict(self.expected)
        self.reader.assign()
        for number in self.numbers:
            self.reader.state(number).pause()
        await asyncio.sleep(self.random.choice((0, 0.05, 0.3)))
        for number in self.numbers:
            self.seek(number, max(self.brokers.logs[number].start, before[number] - self.random.choice((0, 0, 2))))
            self.reader.state(number).resume()

    # How it ends

    async def calm_down(self) -> None:
        self.brokers.failing = 0
        for number in self.numbers:
            self.brokers.logs[number].finish(self.random)
            self.reader.state(number).resume()
        await self.brokers.grown()

    async def read_to_the_end(self) -> None:
        deadline = asyncio.get_running_loop().time() + 8
        while any(map(self.unread, self.numbers)):
            if asyncio.get_running_loop().time() > deadline:
                raise Wrong(f"never read: {[self.unread(number) for number in self.numbers]}")
            await self.turn()
            await asyncio.sleep(0.002)

    async def stay_idle(self) -> None:
        began, before = asyncio.get_running_loop().time(), self.brokers.requests
        while asyncio.get_running_loop().time() < began + 5:
            await self.turn()
            await asyncio.sleep(0.002)
        if self.brokers.requests - before > 5 * IDLE_REQUESTS:
            raise Wrong(f"{self.brokers.requests - before} requests in 5 idle seconds")


def play(seed: int, fetching: type[Fetching]) -> None:
    async def run(_: object) -> None:
        await Play(seed, fetching).run()

    try:
        run_in_virtual_time(run)
    except Wrong as error:
        raise Wrong(f"seed {seed}: {error}") from error


def play_all(seeds: Iterable[int], fetching: type[Fetching] = Fetching) -> None:
    for seed in seeds:
        play(seed, fetching)


@pytest.mark.parametrize("first", range(0, SEEDS, 20))
def test_every_visible_record_comes_once_and_in_order(first: int) -> None:
    play_all(range(first, first + 20))


def test_records_of_aborted_transactions_that_are_shown_are_found() -> None:
    """The judge of this module sees what a fault would do."""
    wrong = module_with(SHOWS_WHAT_IS_ABORTED).Fetching
    with pytest.raises(Wrong, match="is not visible"):
        play_all(range(SEEDS), wrong)
