"""Reads every partition of the `controls` topic, without a consumer group, starting some time ago, until it is
cancelled.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError

from topics.bounded_fetches import LeftOut, bound_fetches
from topics.client_tasks import reads, stop_consumer
from topics.controls import REMEMBERED_SECONDS, ControlRecord, decode_control
from topics.delivery import uncancelled
from topics.limits import MAX_TIME_MS, Invalid

_RETRY_SECONDS: Final = (0.2, 30.0)
_REQUEST_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0
_CHECK_SECONDS: Final = 30.0
"""A client that gets no answer to a request it makes this often is replaced."""
_MAX_BATCH_BYTES: Final = 1024 * 1024
"""Of a batch, decompressed: as many as Kafka takes of one that is not compressed, unless its operator allows more."""
_MAX_RECORDS: Final = 500
_WAIT_MILLISECONDS: Final = 900
"""How long a broker waits for a first record; less than `_LOOK_MILLISECONDS`, because one fetch of a broker waits for another."""
_LOOK_MILLISECONDS: Final = 1000
"""How long a partition is read alone to see whether it is the one that can't be read."""

TakeControl = Callable[[ControlRecord, float], None]
"""(record, age): age in seconds since it was written; 0 for a record that has just arrived."""


class ControlsReader:
    """Calls `take` with each control record, possibly more than once. `run` retries every failure of Kafka.

    A corrupt batch is skipped, with the records after it that its partition holds by then. Other partitions miss
    nothing. A compressed batch that takes over 1 MiB, or can't be decompressed, is skipped alone: `left_out` is called
    with its partition and first offset.
    `options` returns aiokafka's keyword arguments of a client (servers, security). It is called for each connection.
    `retried` is called for each time that reading restarts after a failure.
    `client` makes a consumer from aiokafka's keyword arguments.
    """

    def __init__(
        self,
        options: Callable[[], Mapping[str, Any]],
        topic: str,
        take: TakeControl,
        *,
        lookback: float = REMEMBERED_SECONDS,
        retried: Callable[[], None] = lambda: None,
        left_out: LeftOut = lambda _partition, _offset: None,
        client: Callable[..., AIOKafkaConsumer] = AIOKafkaConsumer,
    ) -> None:
        self._options = options
        self._topic = topic
        self._take = take
        self._lookback = lookback
        self._retried = retried
        self._left_out = left_out
        self._client = client
        self._read_at: float | None = None
        """Wall time up to which everything was read; None before the first time."""
        self._passed_over: dict[TopicPartition, int] = {}
        """Offsets before which something can't be read."""
        self.trouble: str | None = "not connected yet"
        """Why controls are not read, as a sentence; None while they are."""

    async def run(self) -> NoReturn:
        """Reads until it is cancelled."""
        wait, longest = _RETRY_SECONDS
        while True:
            try:
                await self._read()
            except Exception as error:  # noqa: BLE001 - whatever a client raises, what it served goes on without controls
                if self.trouble is None:
                    wait = _RETRY_SECONDS[0]
                self.trouble = f"topic {self._topic} can't be read: {type(error).__name__}: {error}"
            self._retried()
            await asyncio.sleep(wait * (0.5 + random.random() / 2))  # noqa: S311 - jitter
            wait = min(longest, 2 * wait)

    async def _read(self) -> None:
        async with self._consumer() as consumer:
            backlog = await self._begin(consumer)
            self.trouble = None
            checked = time.monotonic()
            while True:
                fetched = await self._fetch(consumer)
                if not reads(consumer):
                    raise RuntimeError("the client has stopped reading")
                if fetched:
                    self._read_at = time.time()
                for partition, records in fetched.items():
                    for record in records:
                        self._take_record(record, backlog.get(partition, 0))
                if time.monotonic() - checked > _CHECK_SECONDS:
                    async with asyncio.timeout(_REQUEST_SECONDS):
                        await consumer.end_offsets(list(consumer.assignment()))
                    checked = time.monotonic()
                    self._read_at = time.time()

    async def _fetch(self, consumer: AIOKafkaConsumer) -> Mapping[TopicPartition, Sequence[ConsumerRecord]]:
        try:
            fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]] = await consumer.getmany(
                timeout_ms=_WAIT_MILLISECONDS, max_records=_MAX_RECORDS
            )
        except Exception as error:
            if _is_unreadable(error):
                await self._pass_over(consumer)
            raise
        return fetched

    async def _pass_over(self, consumer: AIOKafkaConsumer) -> None:
        """Notes the end of each partition that can't be read on: reading begins there the next time."""
        async with asyncio.timeout(_REQUEST_SECONDS):
            ends: dict[TopicPartition, int] = await consumer.end_offsets(list(consumer.assignment()))
            for partition, end in ends.items():
                if await consumer.position(partition) < end and await _stops_reading(consumer, partition):
                    self._passed_over[partition] = end

    @contextlib.asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        """Connects without a topic, because a request for a topic by name could create it."""
        consumer = self._client(
            **self._options(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=_WAIT_MILLISECONDS,
            isolation_level="read_uncommitted",  # a cancel must not wait behind an open transaction
        )
        try:
            await uncancelled(_start(consumer))  # it would leave open what it connects, were it cancelled
            bound_fetches(consumer, _MAX_BATCH_BYTES, self._left_out)
            yield consumer
        finally:
            await uncancelled(_stop(consumer))

    async def _begin(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        """Seeks the consumer. Returns the offset after the newest record, by partition."""
        async with asyncio.timeout(_REQUEST_SECONDS):
            if self._topic not in await consumer.topics():
                raise LookupError("it does not exist, or may not be seen; `tokenstream topics apply` creates it")
            consumer.subscribe([self._topic])
            while not consumer.assignment():
                await asyncio.sleep(0.01)
            partitions = list(consumer.assignment())
            ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
            since = int((self._read_from() - self._lookback) * 1000)
            found = await consumer.offsets_for_times(dict.fromkeys(partitions, since))
        for partition in partitions:
            newer, end = found.get(partition), ends[partition]
            passed_over = min(self._passed_over.get(partition, 0), end)
            consumer.seek(partition, end if newer is None else max(newer.offset, passed_over))
        return ends

    def _read_from(self) -> float:
        """Returns the time up to which everything was read: records written during an outage are read after it, however long it was."""
        now = time.time()
        self._read_at = now if self._read_at is None else min(now, self._read_at)
        return self._read_at

    def _take_record(self, record: ConsumerRecord, backlog_end: int) -> None:
        control = decode_control(record.value)
        if isinstance(control, Invalid):
            return
        age = max(0.0, time.time() - record.timestamp / 1000) if record.timestamp > 0 else 0.0
        if record.offset >= backlog_end and age <= self._lookback:
            age = 0.0  # it has just come: clocks that differ must not make it older
        if control.ts is None and 0 <= record.timestamp <= MAX_TIME_MS:
            control = msgspec.structs.replace(control, ts=record.timestamp)
        self._take(control, age)


def _is_unreadable(error: Exception) -> bool:
    """Whether what was fetched is at fault, and not Kafka: the library raises anything for bytes that make no sense."""
    return isinstance(error, CorruptRecordException) or not isinstance(error, KafkaError | OSError)


async def _stops_reading(consumer: AIOKafkaConsumer, partition: TopicPartition) -> bool:
    try:
        await consumer.getmany(partition, timeout_ms=_LOOK_MILLISECONDS, max_records=_MAX_RECORDS)
    except Exception as error:
        if not _is_unreadable(error):
            raise
        return True
    return False


async def _start(consumer: AIOKafkaConsumer) -> None:
    async with asyncio.timeout(_REQUEST_SECONDS):
        await consumer.start()


async def _stop(consumer: AIOKafkaConsumer) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_STOP_SECONDS):
            await stop_consumer(consumer)
