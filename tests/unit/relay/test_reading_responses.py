"""The takeover's read of the responses topic takes as long as it must, and not longer than something comes of it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
from aiokafka import TopicPartition

from processor.errors import KafkaUnavailable
from processor.kafka import ResponsesReader
from processor.kafka.connection import KafkaConnection
from processor.kafka.lazy import LazyClient
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


def reader_of(slow: SlowConsumer) -> ResponsesReader:
    return ResponsesReader(
        lambda: KafkaConnection("nowhere"), "responses", patience=PATIENCE, client=LazyClient(lambda: slow)
    )


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
