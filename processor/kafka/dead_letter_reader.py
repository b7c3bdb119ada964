"""Reads dead letters back from their topic: the record, the reason, and the origin."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from processor.errors import Fatal, KafkaUnavailable, TopicsUnfit
from processor.kafka.connection import KafkaConnection
from processor.kafka.record_batches import Fetches, Unreadable, read_safely, report_unreadable
from processor.kafka.stopping import stop_quietly

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 15.0
READ_SECONDS = 30.0
FETCH_BYTES = 8 * 1024 * 1024
OWN_PREFIX = "tokenstream-"


class DeadLetterMissing(Fatal):
    """There is no such dead letter."""


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """The original position of the record. It identifies a dead letter, which may be on the topic twice."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Source":
        """Raises ValueError, a sentence."""
        topic, *numbers = text.rsplit(":", 2)
        if not topic or len(numbers) != 2 or not all(number.isascii() and number.isdigit() for number in numbers):
            raise ValueError(f"{text!r} is not TOPIC:PARTITION:OFFSET, as `dead-letters list` shows it under source")
        return cls(topic, int(numbers[0]), int(numbers[1]))


@dataclass(frozen=True)
class StoredDeadLetter:
    """One record of the dead-letters topic. `headers` are all of them; ours begin with `tokenstream-`."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]

    @cached_property
    def _own(self) -> dict[str, str]:
        return {
            name.removeprefix(OWN_PREFIX): (value or b"").decode(errors="replace")
            for name, value in self.headers
            if name.startswith(OWN_PREFIX)
        }

    @property
    def reason(self) -> str:
        return self._own.get("reason", "")

    @property
    def detail(self) -> str:
        return self._own.get("detail", "")

    @property
    def time(self) -> int:
        """When it was put here, in milliseconds."""
        time = self._own.get("time", "")
        return int(time) if time.isascii() and time.isdigit() else self.timestamp

    @property
    def is_cut(self) -> bool:
        """Whether the value is only the beginning of the original's."""
        return "sha256" in self._own

    @cached_property
    def source(self) -> Source | None:
        own = self._own
        try:
            return Source(own["topic"], int(own["partition"]), int(own["offset"]))
        except (KeyError, ValueError):
            return None

    @cached_property
    def response_id(self) -> str | None:
        """The `responseId` its value names (`id`, for a chat completion chunk), where it is JSON that names one."""
        try:
            fields = json.loads(self.value or b"")
        except (ValueError, RecursionError):
            return None
        named = fields.get("responseId", fields.get("id")) if isinstance(fields, dict) else None
        return named if isinstance(named, str) else None


class DeadLetterReader:
    """Reads the topic without side effects: no group, no commit."""

    def __init__(self, connection: KafkaConnection, topic: str) -> None:
        self._connection = connection
        self._topic = topic
        self._fetches: Fetches | None = None

    async def read(self) -> AsyncIterator[StoredDeadLetter]:
        """Yields each dead letter once, those of a partition in order, up to the topic's end when this begins.

        Of a dead letter that is there twice, the first is yielded. Raises KafkaUnavailable, TopicsUnfit.
        """
        seen: set[Source] = set()
        async with self._consumer() as (consumer, partitions):
            ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
            firsts: dict[TopicPartition, int] = await consumer.beginning_offsets(partitions)
            wanted = [partition for partition in partitions if firsts[partition] < ends[partition]]
            if not wanted:
                return  # aiokafka hangs with nothing assigned
            consumer.assign(wanted)
            for partition in wanted:
                consumer.seek(partition, firsts[partition])
            async for letter in self._read_to(consumer, ends, wanted):
                if letter.source not in seen:
                    if letter.source is not None:
                        seen.add(letter.source)
                    yield letter

    async def at(self, partition: int, offset: int) -> StoredDeadLetter:
        """The dead letter at this place of the topic. Raises DeadLetterMissing, KafkaUnavailable, TopicsUnfit."""
        missing = DeadLetterMissing(
            f"Topic {self._topic} has no dead letter at {partition}:{offset}: `dead-letters list` shows what there is."
        )
        async with self._consumer() as (consumer, partitions):
            place = TopicPartition(self._topic, partition)
            if place not in partitions:
                raise missing
            end: int = (await consumer.end_offsets([place]))[place]
            first: int = (await consumer.beginning_offsets([place]))[place]
            if not first <= offset < end:
                raise missing
            consumer.assign([place])
            consumer.seek(place, offset)
            async for letter in self._read_to(consumer, {place: offset + 1}, [place]):
                if letter.offset == offset:
                    return letter
        raise missing

    async def _read_to(
        self, consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int], partitions: list[TopicPartition]
    ) -> AsyncIterator[StoredDeadLetter]:
        left = set(partitions)
        while left:
            async with asyncio.timeout(READ_SECONDS):
                fetched: dict[TopicPartition, list[Any]] = await consumer.getmany(*left, timeout_ms=500)
            if self._fetches is not None and self._fetches.troubles:
                raise KafkaUnavailable(" ".join(f"{trouble}." for trouble in self._fetches.troubles.values()))
            for partition, records in fetched.items():
                for record in records:
                    if record.offset < ends[partition]:
                        yield _letter(record)
            for partition in list(left):
                if await consumer.position(partition) >= ends[partition]:
                    left.discard(partition)
                    consumer.pause(partition)

    async def _partitions(self, consumer: AIOKafkaConsumer) -> list[TopicPartition]:
        if self._topic not in await consumer.topics():
            raise TopicsUnfit(
                f"Topic {self._topic} does not exist at {self._connection.bootstrap_servers}, or may not be seen:"
                " `tokenstream topics apply` creates it."
            )
        # aiokafka knows the partitions of those topics only that something was asked of.
        first = TopicPartition(self._topic, 0)
        consumer.assign([first])
        await consumer.end_offsets([first])
        return [TopicPartition(self._topic, number) for number in sorted(consumer.partitions_for_topic(self._topic))]

    @contextlib.asynccontextmanager
    async def _consumer(self) -> AsyncIterator[tuple[AIOKafkaConsumer, list[TopicPartition]]]:
        consumer = AIOKafkaConsumer(
            **self._connection.arguments(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=50,
            max_partition_fetch_bytes=FETCH_BYTES,
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await consumer.start()
                self._fetches = read_safely(consumer, refuse=_passed_over)
                partitions = await self._partitions(consumer)
            yield consumer, partitions
        except (KafkaError, TimeoutError, OSError) as error:
            raise KafkaUnavailable(
                f"Topic {self._topic} can't be read from Kafka at {self._connection.bootstrap_servers}: {error!r}."
            ) from error
        finally:
            await stop_quietly(consumer)


def _passed_over(partition: TopicPartition, unreadable: Unreadable) -> None:
    report_unreadable(log.warning, "dead_letters_unreadable", partition, unreadable)


def _letter(record: Any) -> StoredDeadLetter:
    return StoredDeadLetter(
        partition=record.partition,
        offset=record.offset,
        timestamp=record.timestamp,
        key=record.key,
        value=record.value,
        headers=tuple(record.headers or ()),
    )
