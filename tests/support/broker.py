"""One broker in memory, read by the library's own fetcher: for tests of what a consumer makes of its answers."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.protocol.offset import OffsetRequest

from devtools.raw_batches import batch

TOPIC = "t"
NO_ERROR, OUT_OF_RANGE = 0, 1
EARLIEST = -2
"""As a time that is asked for."""
ROUND_TRIP = 0.001
LONG_POLL = 0.3
"""Seconds until an empty answer. Records that come meanwhile are in the next one."""


@dataclass
class BrokerLog:
    """One partition. Its first batch begins at `start`."""

    start: int = 0
    batches: list[tuple[int, int, bytes]] = field(default_factory=list)
    """(first offset, the offset after the last, bytes)"""

    @property
    def end(self) -> int:
        return self.batches[-1][1] if self.batches else self.start

    def write(self, *values: bytes, key: bytes = b"chat:1", damaged: bool = False) -> None:
        first = self.end
        data = batch([(key, value, ()) for value in values], base=first)
        if damaged:
            data = data[:-1] + bytes([data[-1] ^ 1])
        self.batches.append((first, first + len(values), data))

    def lose_all(self, start: int = 0) -> None:
        """As when the topic is created again, or a replica that has nothing from `start` on becomes the leader."""
        self.start, self.batches = start, []

    def lose_from(self, offset: int) -> None:
        """As when a replica that lags becomes the leader. `offset` begins a batch."""
        self.start, self.batches = min(self.start, offset), [each for each in self.batches if each[1] <= offset]

    def delete_before(self, offset: int) -> None:
        """As retention, or a request to delete records does. `offset` begins a batch, or is the end."""
        self.batches = [each for each in self.batches if each[0] >= offset]
        self.start = offset

    def answer(self, number: int, offset: int) -> tuple[Any, ...]:
        in_range = self.start <= offset <= self.end
        data = b"".join(each for _, end, each in self.batches if end > offset) if in_range else b""
        return (number, NO_ERROR if in_range else OUT_OF_RANGE, self.end, self.end, [], data)


class Broker:
    """`failure` is raised by the next request, as it would be by a part of the client that makes a connection."""

    def __init__(self, partitions: int = 1) -> None:
        self.logs = {number: BrokerLog() for number in range(partitions)}
        self.failure: Exception | None = None
        self.made: list[BrokerConsumer] = []

    def consumer(self, **options: Any) -> "BrokerConsumer":
        """To be given as what makes a consumer."""
        self.made.append(BrokerConsumer(self, options))
        return self.made[-1]

    async def send(self, _node: int, request: Any, **_options: Any) -> Any:
        await asyncio.sleep(ROUND_TRIP)
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        if isinstance(request, OffsetRequest):
            return self._offsets(request)
        asked = request._request.topics if hasattr(request, "_request") else request.topics
        answers = [self.logs[number].answer(number, at) for _, numbers in asked for number, at, _ in numbers]
        if not any(answer[1] or answer[-1] for answer in answers):
            await asyncio.sleep(LONG_POLL)
        return SimpleNamespace(API_VERSION=4, topics=[(TOPIC, answers)])

    def _offsets(self, request: Any) -> Any:
        places = [
            (number, NO_ERROR, -1, self.logs[number].start if at == EARLIEST else self.logs[number].end)
            for _, numbers in request._topics
            for number, at in numbers
        ]
        return SimpleNamespace(API_VERSION=1, topics=[(TOPIC, places)])


class BrokerConsumer:
    """What is used of AIOKafkaConsumer, with the library's fetcher and subscription."""

    def __init__(self, broker: Broker, options: Mapping[str, Any]) -> None:
        self._broker = broker
        self._options = options
        self._subscription = SubscriptionState()
        self.closed = False

    async def start(self) -> None:
        self._client = SimpleNamespace(
            _loop=asyncio.get_running_loop(),
            _metadata_max_age_ms=30_000,
            _sync_task=asyncio.ensure_future(asyncio.Event().wait()),
            cluster=SimpleNamespace(leader_for_partition=lambda _: 0, broker_metadata=lambda _: 0),
            send=self._broker.send,
            close=self._close,
            fetch_all_metadata=self._metadata,
        )
        self._fetcher = Fetcher(
            self._client,
            self._subscription,
            auto_offset_reset=self._options["auto_offset_reset"],
            isolation_level=self._options.get("isolation_level", "read_uncommitted"),
        )

    async def _metadata(self) -> Any:
        return SimpleNamespace(partitions_for_topic=lambda _: set(self._broker.logs))

    async def _close(self) -> None:
        self._client._sync_task.cancel()
        self.closed = True

    async def stop(self) -> None:
        await self._fetcher.close()
        await self._close()

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        self._subscription.assign_from_user(partitions)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._subscription.seek(partition, offset)

    def pause(self, *partitions: TopicPartition) -> None:
        for partition in partitions:
            self._subscription.pause(partition)

    async def position(self, partition: TopicPartition) -> int:
        return int(self._subscription.subscription.assignment.state_value(partition).position)

    async def beginning_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {partition: self._broker.logs[partition.partition].start for partition in partitions}

    async def end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {partition: self._broker.logs[partition.partition].end for partition in partitions}

    async def offsets_for_times(self, times: Mapping[TopicPartition, int]) -> dict[TopicPartition, Any]:
        """All records are of the time that is asked for."""
        logs = {partition: self._broker.logs[partition.partition] for partition in times}
        return {each: SimpleNamespace(offset=log.start) if log.batches else None for each, log in logs.items()}

    async def getmany(self, *partitions: TopicPartition, timeout_ms: int, max_records: int) -> Any:
        return await self._fetcher.fetched_records(partitions, timeout_ms / 1000, max_records)
