"""Reads the `controls` topic: every partition, without a group, from a while before now, for as long as it runs."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, NoReturn

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from topics.controls import REMEMBERED_SECONDS, ControlRecord, decode_control
from topics.delivery import uncancelled
from topics.limits import MAX_TIME_MS, Invalid

_RETRY_SECONDS: Final = (0.2, 30.0)
_REQUEST_SECONDS: Final = 10.0
_STOP_SECONDS: Final = 5.0
_CHECK_SECONDS: Final = 30.0
"""A client that gets no answer to a request it makes this often is replaced."""

TakeControl = Callable[[ControlRecord, float], None]
"""(record, age): how many seconds ago it was written; 0 for one that has just come."""


class ControlsReader:
    """Calls `take` with each control record, a record perhaps more than once. `run` retries whatever Kafka does.

    `options` returns aiokafka's keyword arguments of a client (servers, security); it is called for each connection.
    `retried` is called for each time that reading begins again after a failure.
    """

    def __init__(
        self,
        options: Callable[[], Mapping[str, Any]],
        topic: str,
        take: TakeControl,
        *,
        lookback: float = REMEMBERED_SECONDS,
        retried: Callable[[], None] = lambda: None,
    ) -> None:
        self._options = options
        self._topic = topic
        self._take = take
        self._lookback = lookback
        self._retried = retried
        self._read_at: float | None = None
        """Wall time up to which everything was read; None before the first time."""
        self.trouble: str | None = "not connected yet"
        """Why controls are not read, as a sentence; None while they are."""

    async def run(self) -> NoReturn:
        """Until cancelled."""
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
                fetched = await consumer.getmany(timeout_ms=1000)
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

    @contextlib.asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        """Without a topic: asking for one by name could create it."""
        consumer = AIOKafkaConsumer(
            **self._options(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_uncommitted",  # a cancel must not wait behind an open transaction
        )
        try:
            await uncancelled(_start(consumer))  # it would leave open what it connects, were it cancelled
            yield consumer
        finally:
            await uncancelled(_stop(consumer))

    async def _begin(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        """Place the consumer; the offset after the newest record there was, by partition."""
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
            newer = found.get(partition)
            consumer.seek(partition, ends[partition] if newer is None else newer.offset)
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


async def _start(consumer: AIOKafkaConsumer) -> None:
    async with asyncio.timeout(_REQUEST_SECONDS):
        await consumer.start()


async def _stop(consumer: AIOKafkaConsumer) -> None:
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_STOP_SECONDS):
            await consumer.stop()
