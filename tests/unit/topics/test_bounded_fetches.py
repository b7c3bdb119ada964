"""What one answer of a broker takes in memory is bounded, and costs no record beside the one that is too large."""

import asyncio
import struct
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

import cramjam
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder

from devtools.raw_batches import CODECS, around, batch, sealed
from topics.bounded_fetches import bound_fetches

MIB = 1 << 20
CONTROLS = TopicPartition("controls", 0)
codecs = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


def one(value: bytes, base: int, codec: int = 0) -> bytes:
    return batch([(b"k", value, ())], codec=codec, base=base)


class Reader:
    """aiokafka's own fetcher on a broker that answers with the log from the offset asked for."""

    def __init__(self) -> None:
        self.log: dict[int, bytes] = {}
        self.left_out: list[int] = []
        subscriptions = SubscriptionState()
        subscriptions.assign_from_user({CONTROLS})
        self._assignment = subscriptions.subscription.assignment
        cluster = SimpleNamespace(leader_for_partition=lambda _: None)
        client: Any = SimpleNamespace(
            _loop=asyncio.get_running_loop(), _metadata_max_age_ms=1000, cluster=cluster, send=self._send
        )
        self._fetcher = Fetcher(client, subscriptions)
        consumer: Any = SimpleNamespace(_client=client)
        bound_fetches(consumer, MIB, lambda _, offset: self.left_out.append(offset))
        self._assignment.state_value(CONTROLS).seek(0)

    async def close(self) -> None:
        self._fetcher._fetch_task.cancel()
        with suppress(asyncio.CancelledError):
            await self._fetcher._fetch_task

    async def _send(self, _node: int, request: Any) -> Any:
        start = request.topics[0][1][0][1]
        data = b"".join(batch for offset, batch in self.log.items() if offset >= start)
        return SimpleNamespace(API_VERSION=4, topics=[(CONTROLS.topic, [(0, 0, 1 << 50, 1 << 50, [], data)])])

    @property
    def position(self) -> int:
        return int(self._assignment.state_value(CONTROLS).position)

    async def fetch(self) -> list[Any]:
        request = FetchRequest(0, 1, MIB, 1, [(CONTROLS.topic, [(0, self.position, MIB)])])
        await self._fetcher._proc_fetch_request(self._assignment, 0, request)
        records: list[Any] = (await self._fetcher.fetched_records((), 0, None)).get(CONTROLS, [])
        return records

    async def values(self, fetches: int) -> list[bytes]:
        return [record.value for _ in range(fetches) for record in await self.fetch()]


@asynccontextmanager
async def reader(*logged: bytes) -> AsyncIterator[Reader]:
    made = Reader()
    made.log = {int.from_bytes(each[:8]): each for each in logged}
    try:
        yield made
    finally:
        await made.close()


@codecs
async def test_records_of_every_codec_are_read_as_aiokafka_reads_them(codec: int) -> None:
    entries = [(b"k", b"v" * size, [("h", b"x")]) for size in (0, 1, 5000)]
    async with reader(batch(entries, codec=codec, base=7)) as bounded:
        read = await bounded.fetch()
    assert [(each.offset, each.key, each.value, each.headers, each.timestamp) for each in read] == [
        (7 + number, key, value, tuple(headers), 7) for number, (key, value, headers) in enumerate(entries)
    ]


@pytest.mark.parametrize("codec", [CODECS["gzip"], CODECS["lz4"], CODECS["zstd"]])
async def test_a_batch_that_grows_beyond_the_bound_takes_no_memory_and_costs_only_itself(codec: int) -> None:
    bomb = one(bytes(32 * MIB), 0, codec)
    async with reader(bomb, one(b"cancel", 1)) as bounded:
        tracemalloc.start()
        try:
            values = await bounded.values(2)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (values, bounded.left_out) == ([b"cancel"], [0])
    assert peak < 8 * MIB  # the check of its end takes the bound twice; the batch has up to 1 MiB compressed


async def test_many_that_grow_up_to_the_bound_come_one_at_a_time() -> None:
    async with reader(*(one(bytes(MIB - 100), offset, CODECS["zstd"]) for offset in range(20))) as bounded:
        assert [len(await bounded.fetch()) for _ in range(10)] == [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]


async def test_a_second_compressed_stream_behind_the_first_is_never_handed_to_aiokafka() -> None:
    compressed = bytes(cramjam.zstd.compress(b"")) + bytes(cramjam.zstd.compress(bytes(32 * MIB)))
    async with reader(around(compressed, count=1, codec=CODECS["zstd"]), one(b"cancel", 1)) as bounded:
        tracemalloc.start()
        try:
            with suppress(Exception):  # a batch with fewer records than it claims
                await bounded.fetch()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 8 * MIB


async def test_what_can_not_be_decompressed_costs_only_itself() -> None:
    broken = around(b"no zstd", count=3, codec=CODECS["zstd"])
    async with reader(broken, one(b"cancel", 3)) as bounded:
        assert await bounded.values(2) == [b"cancel"]
        assert (bounded.left_out, bounded.position) == ([0], 4)


@pytest.mark.parametrize("version", [0, 1])
async def test_compressed_messages_of_old_formats_are_left_out_and_others_read(version: int) -> None:
    def legacy(codec: int, base: int) -> bytes:
        builder = LegacyRecordBatchBuilder(version, codec, MIB)
        builder.append(0, timestamp=7, key=b"k", value=b"cancel")
        return struct.pack(">q", base) + bytes(builder.build())[8:]

    async with reader(legacy(1, 0), legacy(0, 1)) as bounded:
        assert await bounded.values(2) == [b"cancel"]
        assert bounded.left_out == [0]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:10],
        lambda data: data[:40],
        lambda data: data[:8] + b"\xff\xff\xff\xff" + data[12:],
        lambda data: data[:30] + bytes([data[30] ^ 1]) + data[31:],
    ],
    ids=["no frame", "no header", "negative length", "wrong checksum"],
)
async def test_what_is_damaged_is_left_to_aiokafka(spoil: Callable[[bytes], bytes]) -> None:
    damaged = spoil(sealed(one(b"x" * 100, 0, CODECS["zstd"])))
    async with reader(damaged) as bounded:
        with suppress(Exception):
            assert await bounded.fetch() == []
        assert bounded.left_out == []
