"""Reads every partition of a topic without a group: from a position to the end, and further as the log grows."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.partitioner import murmur2

from processor.errors import KafkaUnavailable
from processor.kafka.connection import ConnectionSource
from processor.kafka.options import CLIENT_ERRORS, REQUEST_DEADLINE
from processor.kafka.record_batches import (
    DEFAULT_MAX_BATCH_BYTES,
    Trouble,
    Unreadable,
    advice_on,
    read_safely,
    report_trouble,
    report_unreadable,
)
from processor.kafka.stopping import stop_quietly
from processor.ports.followed import FollowedRecord
from topics.client_tasks import reads

log = structlog.get_logger(__name__)

AT_ONCE = 100
"""Records of a stretch that are in memory at one time, beside what one fetch holds. A frame has at most 64 KiB."""
FETCH_ROOM = 5.0
LOOK_FOR_PARTITIONS = 30.0
NOWHERE = -1
"""A position that no log has."""


def partition_for(key: str, count: int) -> int:
    """Returns the partition that Kafka's default partitioner chooses for a key, out of `count`."""
    return (int(murmur2(key.encode())) & 0x7FFFFFFF) % count


class LogFollower:
    """One topic. After any KafkaUnavailable it can be started again."""

    def __init__(
        self,
        source: ConnectionSource,
        topic: str,
        *,
        isolation_level: str = "read_committed",
        max_batch_bytes: int = DEFAULT_MAX_BATCH_BYTES,
        make: Callable[..., Any] = AIOKafkaConsumer,
    ) -> None:
        self._source = source
        self._topic = topic
        self._isolation_level = isolation_level
        self._max_batch_bytes = max_batch_bytes
        self._make = make
        self._consumer: AIOKafkaConsumer | None = None
        self._troubles: Mapping[TopicPartition, Trouble] = {}
        self._out_of_range: set[int] = set()
        """Partitions whose log no longer had the next offset, as of the last fetch: another log may have it by now."""
        self._partitions: list[TopicPartition] = []
        self._looked = 0.0

    async def start(self, positions: Mapping[int, int], *, since_ms: int | None = None) -> dict[int, int]:
        """Begins at these offsets, and returns where each partition begins.

        A partition without one begins at its first record that was written at `since_ms` or later; None is its very
        first. So does one whose position is not in its log, or was not when it was fetched: the log was lost in part,
        or was created again, and what it has at that position by now does not follow what was read.
        Raises KafkaUnavailable.
        """
        await self.stop()
        known = {**positions, **dict.fromkeys(self._out_of_range, NOWHERE)}
        try:
            async with asyncio.timeout(REQUEST_DEADLINE):
                consumer = await self._started()
                begins = await self._begins(consumer, known, since_ms)
                consumer.assign(self._partitions)
                for partition, offset in begins.items():
                    consumer.seek(partition, offset)
        except CLIENT_ERRORS as error:
            await self.stop()
            raise KafkaUnavailable(f"reading {self._topic} can't begin: {error!r}") from error
        except BaseException:
            await self.stop()
            raise
        self._out_of_range.clear()
        return {partition.partition: offset for partition, offset in begins.items()}

    async def _started(self) -> AIOKafkaConsumer:
        consumer = self._consumer = self._make(
            **self._source().arguments(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",  # the library would read another log without a word
            isolation_level=self._isolation_level,
            retry_backoff_ms=100,
            metadata_max_age_ms=int(LOOK_FOR_PARTITIONS * 1000),
        )
        await consumer.start()
        fetches = read_safely(
            consumer, limit=self._max_batch_bytes, as_read=True, refuse=_passed_over, noted=_log_trouble
        )
        self._troubles = fetches.troubles
        self._partitions = await self._known_partitions(consumer)
        self._looked = asyncio.get_running_loop().time()
        return consumer

    async def _known_partitions(self, consumer: AIOKafkaConsumer) -> list[TopicPartition]:
        metadata = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - `partitions_for_topic` needs a subscription first
        known = metadata.partitions_for_topic(self._topic)
        if not known:
            raise KafkaUnavailable(
                f"Topic {self._topic} does not exist, or may not be described. Run `tokenstream topics apply`."
            )
        return [TopicPartition(self._topic, number) for number in sorted(known)]

    async def _begins(
        self, consumer: AIOKafkaConsumer, positions: Mapping[int, int], since_ms: int | None
    ) -> dict[TopicPartition, int]:
        firsts: dict[TopicPartition, int] = await consumer.beginning_offsets(self._partitions)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(self._partitions)
        found: dict[TopicPartition, Any] = {}
        if since_ms is not None:
            found = await consumer.offsets_for_times(dict.fromkeys(self._partitions, since_ms))
        begins: dict[TopicPartition, int] = {}
        for partition in self._partitions:
            position = positions.get(partition.partition)
            if position is not None and firsts[partition] <= position <= ends[partition]:
                begins[partition] = position
            elif position is not None or since_ms is None:
                begins[partition] = firsts[partition]
            else:
                begins[partition] = ends[partition] if found[partition] is None else found[partition].offset
        return begins

    @property
    def partitions(self) -> int:
        """How many the topic has, as of the last `start`."""
        return len(self._partitions)

    @property
    def troubles(self) -> Mapping[int, str]:
        """The partitions that cannot be read further, each with a sentence that gives the reason and what to do."""
        return {partition.partition: _advice(trouble) for partition, trouble in self._troubles.items()}

    async def ends(self) -> dict[int, int]:
        """Returns the current offset after the last record of each partition. Raises KafkaUnavailable."""
        consumer = self._running()
        try:
            async with asyncio.timeout(REQUEST_DEADLINE):
                ends: dict[TopicPartition, int] = await consumer.end_offsets(self._partitions)
        except CLIENT_ERRORS as error:
            raise KafkaUnavailable(f"reading the ends of {self._topic} failed: {error!r}") from error
        return {partition.partition: offset for partition, offset in ends.items()}

    async def position(self, number: int) -> int:
        """The next offset to be read: behind the markers of transactions, too. Raises KafkaUnavailable."""
        try:
            async with asyncio.timeout(REQUEST_DEADLINE):
                return int(await self._running().position(TopicPartition(self._topic, number)))
        except CLIENT_ERRORS as error:
            raise KafkaUnavailable(f"reading {self._topic} failed: {error!r}") from error

    async def fetch(self, max_records: int, wait: float) -> list[FollowedRecord]:
        """Returns records in the order of each partition, as soon as there are some. `troubles` has the partitions that
        nothing more comes of.

        Raises KafkaUnavailable, also if there are new partitions or the log no longer has the next offset.
        """
        consumer = self._running()
        await self._look_for_partitions(consumer)
        try:
            async with asyncio.timeout(wait + FETCH_ROOM):
                fetched = await consumer.getmany(timeout_ms=int(wait * 1000), max_records=max_records)
        except OffsetOutOfRangeError as error:
            self._out_of_range.update(partition.partition for partition in error.args[0])
            raise KafkaUnavailable(
                f"{self._topic} no longer has the next records of partitions {sorted(self._out_of_range)}: reading"
                " begins again at their first"
            ) from error
        except Exception as error:
            # Whatever a library does with what it was sent, it must not end the process.
            raise KafkaUnavailable(f"fetching from {self._topic} failed: {error!r}") from error
        if not fetched and not reads(consumer):
            raise KafkaUnavailable(f"fetching from {self._topic} has ended: a task of the client failed")
        return [_followed(tp.partition, record) for tp, records in fetched.items() for record in records]

    async def _look_for_partitions(self, consumer: AIOKafkaConsumer) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._looked < LOOK_FOR_PARTITIONS:
            return
        self._looked = now
        try:
            async with asyncio.timeout(REQUEST_DEADLINE):
                known = await self._known_partitions(consumer)
        except CLIENT_ERRORS as error:
            raise KafkaUnavailable(f"describing {self._topic} failed: {error!r}") from error
        if known != self._partitions:
            raise KafkaUnavailable(
                f"{self._topic} has {len(known)} partitions now: reading begins again with all of them"
            )

    def _running(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise KafkaUnavailable(f"reading {self._topic} has not begun")
        return self._consumer

    async def stop(self) -> None:
        consumer, self._consumer, self._troubles = self._consumer, None, {}
        if consumer is not None:
            await stop_quietly(consumer)


def _followed(partition: int, record: Any) -> FollowedRecord:
    return FollowedRecord(partition, record.offset, record.timestamp or 0, record.key or b"", record.value)


def _passed_over(partition: TopicPartition, unreadable: Unreadable) -> None:
    report_unreadable(log.error, "log_records_unreadable", partition, unreadable)


def _log_trouble(trouble: Trouble) -> None:
    report_trouble(log.error, trouble, _advice(trouble))


def _advice(trouble: Trouble) -> str:
    return advice_on(trouble, skip_options=f" --topic {trouble.topic}")


def _behind(trouble: Trouble, end: int) -> int:
    """Where reading goes on without the batch: at `end`, if its header does not give its own. Raises KafkaUnavailable."""
    if trouble.of_broker:
        raise KafkaUnavailable(str(trouble))
    return end if trouble.end is None else max(trouble.end, trouble.offset + 1)


class LogTail:
    """Reads stretches of a topic's partitions, by one consumer that has no group. One read at a time."""

    def __init__(self, source: ConnectionSource, topic: str, *, make: Callable[..., Any] = AIOKafkaConsumer) -> None:
        self._source = source
        self._topic = topic
        self._make = make
        self._turn = asyncio.Lock()
        self._consumer: AIOKafkaConsumer | None = None
        self._troubles: Mapping[TopicPartition, Trouble] = {}

    async def bounds(self, number: int) -> tuple[int, int]:
        """The first offset of a partition and the one after its last. Raises KafkaUnavailable."""
        partition = TopicPartition(self._topic, number)
        try:
            async with self._turn, asyncio.timeout(REQUEST_DEADLINE):
                consumer = await self._started()
                firsts = await consumer.beginning_offsets([partition])
                ends = await consumer.end_offsets([partition])
        except CLIENT_ERRORS as error:
            await self.stop()
            raise KafkaUnavailable(f"reading the bounds of {self._topic} failed: {error!r}") from error
        return int(firsts[partition]), int(ends[partition])

    async def read(self, number: int, start: int, end: int, take: Callable[[Sequence[FollowedRecord]], None]) -> None:
        """Gives `take` the records from `start` up to `end`, which must have been written, at most `AT_ONCE` each time.

        A corrupt batch is left out. Raises KafkaUnavailable; some of the records may have been given then.
        """
        partition = TopicPartition(self._topic, number)
        try:
            async with self._turn, asyncio.timeout(REQUEST_DEADLINE):
                consumer = await self._started()
                consumer.assign([partition])
                consumer.seek(partition, start)
                while (position := await consumer.position(partition)) < end:
                    fetched = await consumer.getmany(partition, timeout_ms=200, max_records=AT_ONCE)
                    take([_followed(number, record) for record in fetched.get(partition, ()) if record.offset < end])
                    if (trouble := self._troubles.get(partition)) is not None and trouble.offset == position:
                        consumer.seek(partition, _behind(trouble, end))
                consumer.pause(partition)
        except CLIENT_ERRORS as error:
            await self.stop()
            raise KafkaUnavailable(f"reading the tail of {self._topic} failed: {error!r}") from error

    async def partitions(self) -> int:
        """How many the topic has. Raises KafkaUnavailable."""
        try:
            async with self._turn, asyncio.timeout(REQUEST_DEADLINE):
                consumer = await self._started()
                metadata = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - `partitions_for_topic` needs a subscription first
                return len(metadata.partitions_for_topic(self._topic) or ())
        except CLIENT_ERRORS as error:
            await self.stop()
            raise KafkaUnavailable(f"describing {self._topic} failed: {error!r}") from error

    async def _started(self) -> AIOKafkaConsumer:
        if self._consumer is not None and not reads(self._consumer):
            await self.stop()
        if self._consumer is None:
            consumer = self._make(
                **self._source().arguments(),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                fetch_max_wait_ms=50,
                max_partition_fetch_bytes=4 * 1024 * 1024,
            )
            try:
                await consumer.start()
            except BaseException:
                await stop_quietly(consumer)
                raise
            fetches = read_safely(consumer, as_read=True, refuse=_passed_over, noted=_log_trouble)
            self._consumer, self._troubles = consumer, fetches.troubles
        return self._consumer

    async def stop(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop_quietly(consumer)
