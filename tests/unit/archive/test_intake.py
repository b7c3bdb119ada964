"""Batches by count, bytes and time."""

import asyncio

from processor.archive.batch import Arrival
from processor.archive.intake import ArrivalQueue, BatchLimits
from processor.ports.store import Position


def arrival(offset: int, size: int = 1) -> Arrival:
    return Arrival("t", Position(0, offset), None, b"x" * size)


async def test_a_batch_is_complete_by_count_without_waiting() -> None:
    intake = ArrivalQueue(BatchLimits(records=3, within=60))
    for offset in range(5):
        await intake.put(arrival(offset))
    async with asyncio.timeout(5):
        assert [one.position.offset for one in await intake.next_batch()] == [0, 1, 2]


async def test_a_batch_is_complete_by_bytes() -> None:
    intake = ArrivalQueue(BatchLimits(bytes=1000, within=60))
    for offset in range(3):
        await intake.put(arrival(offset, 500))
    async with asyncio.timeout(5):
        assert len(await intake.next_batch()) == 2


async def test_a_lonely_record_waits_no_longer_than_it_must() -> None:
    intake = ArrivalQueue(BatchLimits(within=0.01))
    await intake.put(arrival(0))
    async with asyncio.timeout(5):
        assert len(await intake.next_batch()) == 1


async def test_the_reader_waits_when_two_batches_are_held() -> None:
    intake = ArrivalQueue(BatchLimits(records=2, within=60))
    for offset in range(4):
        await intake.put(arrival(offset))
    waiting = asyncio.ensure_future(intake.put(arrival(4)))
    await asyncio.wait({waiting}, timeout=0.05)
    assert not waiting.done()
    await intake.next_batch()
    async with asyncio.timeout(5):
        await waiting
    assert len(intake) == 3


async def test_what_is_forgotten_is_gone() -> None:
    intake = ArrivalQueue(BatchLimits())
    await intake.put(arrival(0))
    intake.clear()
    assert len(intake) == 0
