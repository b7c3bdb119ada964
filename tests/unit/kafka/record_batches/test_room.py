"""However many batches an answer holds, and whatever they decompress to, a call takes a bounded part of them."""

import tracemalloc

import pytest

from devtools.raw_batches import CODECS, batch
from fuzz.batches import BOUND, Reader, reader

BATCHES, RECORDS = 40, 3
SIZE = BOUND // 4
"""Of the value of a record, which is nothing but zeros."""
ROOM = 2 * BOUND


def answer(codec: int) -> bytes:
    entries = [(b"k", bytes(SIZE), ())] * RECORDS
    return b"".join(batch(entries, codec=codec, base=number * RECORDS) for number in range(BATCHES))


async def taken(made: Reader) -> list[list[int]]:
    """The offsets that each call gave."""
    calls = []
    while records := await made.take():
        assert sum(len(record.value) for record in records) <= ROOM + BOUND
        calls.append([record.offset for record in records])
    return calls


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
async def test_each_call_takes_a_part_and_all_of_them_everything(codec: int) -> None:
    async with reader(ROOM) as made:
        await made.fetch(answer(codec))
        calls = await taken(made)
        assert [offset for call in calls for offset in call] == list(range(BATCHES * RECORDS))
        assert len(calls) >= BATCHES * RECORDS * SIZE // (ROOM + BOUND)
        assert made.position == BATCHES * RECORDS


async def test_what_is_not_taken_yet_is_not_decompressed() -> None:
    async with reader(ROOM) as made:
        await made.fetch(answer(CODECS["zstd"]))
        tracemalloc.start()
        try:
            await made.take()
            assert tracemalloc.get_traced_memory()[1] < 4 * ROOM < BATCHES * RECORDS * SIZE
        finally:
            tracemalloc.stop()


async def test_small_batches_are_taken_at_once() -> None:
    async with reader(ROOM) as made:
        await made.fetch(b"".join(batch([(b"k", b"v", ())], base=number) for number in range(BATCHES)))
        assert [len(call) for call in await taken(made)] == [BATCHES]
