"""The takeover's read of the responses topic takes as long as it must, and not longer than something comes of it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.protocol.fetch import FetchRequest

from devtools.raw_batches import CODECS, batch, sealed
from processor.errors import KafkaUnavailable
from processor.kafka import ResponsesReader
from processor.kafka.connection import KafkaConnection
from processor.kafka.record_batches.batches import TRANSACTIONAL
from support.virtual_time import in_virtual_time

PATIENCE = 0.3
PARTITION = TopicPartition("responses", 0)


@dataclass(frozen=True, slots=True)
class Stored:
    offset: int
    key: bytes = b"r"
    value: bytes = b"{}"


class SlowConsumer:
    """Gives a record at a time, each after a while; none any more once it stalls."""

    def __init__(self, records: int, stalls_at: int = -1) -> None:
        self._end = records
        self._stalls_at = stalls_at
        self._position = 0
        self.assigned: Sequence[TopicPartition] = ()
        self._client: Any = SimpleNamespace(send=None)
        self._fetcher: Any = SimpleNamespace(_isolation_level=1, _records={}, fetched_records=None)

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self.assigned = partitions

    def pause(self, *partitions: TopicPartition) -> None:
        self.assigned = [partition for partition in self.assigned if partition not in partitions]

    def seek(self, _: TopicPartition, offset: int) -> None:
        self._position = offset

    async def end_offsets(self, _: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {PARTITION: self._end}

    async def beginning_offsets(self, _: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {PARTITION: 0}

    async def position(self, _: TopicPartition) -> int:
        return self._position

    async def getmany(self, *, timeout_ms: int, max_records: int) -> Mapping[TopicPartition, Sequence[Stored]]:
        del timeout_ms, max_records
        await asyncio.sleep(PATIENCE / 10)
        if self._position == self._stalls_at:
            return {}
        self._position += 1
        return {PARTITION: [Stored(self._position - 1)]}

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class FetchingConsumer(SlowConsumer):
    """aiokafka's own fetcher on a log of batches, one record each."""

    def __init__(self, *log: bytes) -> None:
        super().__init__(len(log))
        self._log = log

    async def start(self) -> None:
        self._subscription = SubscriptionState()
        cluster = SimpleNamespace(leader_for_partition=lambda _: None)
        self._client = SimpleNamespace(
            _loop=asyncio.get_running_loop(), _metadata_max_age_ms=1000, cluster=cluster, send=self._send
        )
        self._fetcher = Fetcher(self._client, self._subscription, isolation_level="read_committed")

    async def stop(self) -> None:
        self._fetcher._fetch_task.cancel()

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self._subscription.assign_from_user(partitions)

    def pause(self, *partitions: TopicPartition) -> None:
        del partitions

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._subscription.seek(partition, offset)

    async def position(self, partition: TopicPartition) -> int:
        return int(self._subscription.subscription.assignment.state_value(partition).position)

    async def getmany(self, *, timeout_ms: int, max_records: int) -> Mapping[TopicPartition, Sequence[Any]]:
        del timeout_ms
        assignment = self._subscription.subscription.assignment
        self._asked = await self.position(PARTITION)
        asked = [(0, self._asked, 1 << 20)]
        await self._fetcher._proc_fetch_request(assignment, 0, FetchRequest(0, 1, 1, 1, [("responses", asked)]))
        records: Mapping[TopicPartition, Sequence[Any]] = await self._fetcher.fetched_records((), 0, max_records)
        return records

    async def _send(self, _node: int, _request: Any, **_options: Any) -> Any:
        partitions: list[tuple[Any, ...]] = [(0, 0, self._end, self._end, [], b"".join(self._log[self._asked :]))]
        return SimpleNamespace(API_VERSION=4, topics=[("responses", partitions)])


def record(base: int, size: int, *, transactional: bool = True) -> bytes:
    """One record in a batch, compressed as a relay compresses."""
    made = bytearray(batch([(b"r", bytes(size), ())], codec=CODECS["lz4"], base=base))
    if transactional:
        made[22] |= TRANSACTIONAL
    return sealed(bytes(made))


async def restored(*log: bytes, bound: int = 1 << 20, start: int = 0, only: bool = False) -> list[tuple[int, int]]:
    """The (offset, size) of what a takeover reads."""
    reader = ResponsesReader(
        lambda: KafkaConnection("nowhere"),
        "responses",
        max_batch_bytes=bound,
        client=lambda **_: FetchingConsumer(*log),
    )
    read: list[tuple[int, int]] = []
    try:
        await reader.read(0, start, lambda offset, _, value: read.append((offset, len(value or b""))), only=only)
    finally:
        await reader.close()
    return read


async def test_a_newer_state_above_the_bound_is_never_replaced_by_an_older_one() -> None:
    log = record(0, 1000), record(1, 3 << 20)
    assert await restored(*log, bound=4 << 20) == [(0, 1000), (1, 3 << 20)]
    with pytest.raises(KafkaUnavailable, match=r"larger than 1048576 bytes decompressed.*MAX_BATCH_BYTES"):
        await restored(*log)


async def test_one_record_before_the_one_above_the_bound_is_still_found() -> None:
    assert await restored(record(0, 1000), record(1, 3 << 20), only=True) == [(0, 1000)]


async def test_a_record_above_the_bound_is_not_taken_for_one_that_is_gone() -> None:
    with pytest.raises(KafkaUnavailable, match="MAX_BATCH_BYTES"):
        await restored(record(0, 1000), record(1, 3 << 20), record(2, 1000), start=1, only=True)


async def test_what_no_relay_wrote_stops_no_takeover() -> None:
    log = record(0, 1000), record(1, 3 << 20, transactional=False), record(2, 2000)
    assert await restored(*log) == [(0, 1000), (2, 2000)]


def reader_of(slow: SlowConsumer) -> ResponsesReader:
    return ResponsesReader(lambda: KafkaConnection("nowhere"), "responses", patience=PATIENCE, client=lambda **_: slow)


@in_virtual_time
async def test_what_was_read_is_not_fetched_any_further() -> None:
    slow = SlowConsumer(2)
    await reader_of(slow).read(0, 0, lambda *_: None)
    assert not slow.assigned


@in_virtual_time
async def test_where_nothing_is_to_be_read_nothing_is_fetched() -> None:
    reader = reader_of(SlowConsumer(2, stalls_at=0))  # would wait in vain
    assert await reader.read(0, 2, lambda *_: None) == 2


@in_virtual_time
async def test_a_long_stretch_is_read_whole_though_it_takes_many_times_the_patience() -> None:
    read: list[int] = []
    end = await reader_of(SlowConsumer(40)).read(0, 0, lambda offset, _key, _value: read.append(offset))
    assert (end, read) == (40, list(range(40)))


@in_virtual_time
async def test_a_read_of_which_nothing_more_comes_is_given_up() -> None:
    read: list[int] = []
    with pytest.raises(KafkaUnavailable, match="responses"):
        await reader_of(SlowConsumer(40, stalls_at=20)).read(0, 0, lambda offset, _key, _value: read.append(offset))
    assert read == list(range(20))
