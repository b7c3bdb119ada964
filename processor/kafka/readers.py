"""Reads beside the consumer: the log's ends, the group's committed offsets, and ranges of the responses topic."""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError, for_code
from aiokafka.protocol.commit import OffsetFetchRequest

from processor.errors import KafkaUnavailable
from processor.kafka.connection import ConnectionSource
from processor.kafka.lazy import LazyClient
from processor.kafka.options import CLIENT_ERRORS, REQUEST_DEADLINE
from processor.kafka.record_batches import (
    DEFAULT_MAX_BATCH_BYTES,
    Fault,
    Trouble,
    Unreadable,
    read_safely,
    report_unreadable,
)

log = structlog.get_logger(__name__)

OFFSETS_DEADLINE = 5.0
"""Seconds for an offset of a partition, which a broker knows without reading."""
LOST_CLIENT = 3
"""Failures in a row, with no answer for any partition between them, after which a client is thought to be beyond help."""


class LogEnds:
    """Reads high watermarks, by a consumer that fetches nothing. A partition without a leader does not keep others waiting."""

    def __init__(self, source: ConnectionSource, client: LazyClient[Any] | None = None) -> None:
        self._client = client or LazyClient(
            lambda: AIOKafkaConsumer(
                **source().arguments(), group_id=None, enable_auto_commit=False, isolation_level="read_uncommitted"
            )
        )
        self._failures = 0

    async def read(self, partition: TopicPartition) -> int:
        """Raises KafkaUnavailable."""
        try:
            async with asyncio.timeout(REQUEST_DEADLINE):
                consumer = await self._client.started()
            async with asyncio.timeout(OFFSETS_DEADLINE):
                end: int = (await consumer.end_offsets([partition]))[partition]
        except CLIENT_ERRORS as error:
            self._failures += 1
            if self._failures >= LOST_CLIENT:  # others would have been answered meanwhile
                self._failures = 0
                await self.close()
            raise KafkaUnavailable(f"reading the end offset failed: {error!r}") from error
        self._failures = 0
        return end

    async def close(self) -> None:
        await self._client.close()


class CommittedOffsets:
    """Reads what a group committed, metadata included."""

    def __init__(
        self, source: ConnectionSource, group_id: str, topic: str, client: LazyClient[Any] | None = None
    ) -> None:
        self._client = client or LazyClient(lambda: AIOKafkaAdminClient(**source().arguments()))
        self._group_id = group_id
        self._topic = topic

    async def read(self, number: int) -> tuple[int, str] | None:
        """(offset, metadata) of a partition, or None where the group has committed nothing. Raises KafkaUnavailable."""
        try:
            async with asyncio.timeout(REQUEST_DEADLINE):
                answer = await self._ask(await self._client.started(), number)
            return self._committed(answer, number)
        except KafkaUnavailable:
            await self.close()  # another coordinator may have to be asked
            raise
        except CLIENT_ERRORS as error:
            await self.close()
            raise KafkaUnavailable(self._why(type(error), str(error))) from error

    async def _ask(self, admin: Any, number: int) -> Any:
        """Returns the coordinator's answer unchanged: `list_consumer_group_offsets` treats an error of the group as
        "nothing committed".
        """
        coordinator = await admin.find_coordinator(self._group_id)
        request = OffsetFetchRequest(self._group_id, [(self._topic, [number])])
        return await admin._send_request(request, coordinator)  # noqa: SLF001 - see the package's docstring

    def _committed(self, answer: Any, number: int) -> tuple[int, str] | None:
        self._check(getattr(answer, "error_code", 0))
        for topic, partitions in answer.topics:
            for partition, offset, metadata, code in partitions:
                if (topic, partition) == (self._topic, number):
                    self._check(code)
                    return None if offset < 0 else (offset, metadata)
        raise KafkaUnavailable(self._why(None, f"partition {number} of {self._topic} is not in the answer"))

    def _check(self, code: int) -> None:
        if code:
            error = for_code(code)
            raise KafkaUnavailable(self._why(error, error.description))

    def _why(self, error: type[BaseException] | None, said: str) -> str:
        group, topic = self._group_id, self._topic
        if error is GroupAuthorizationFailedError:
            return f"Kafka refuses to show the offsets of group {group}. Grant READ on the group to the Kafka user of the relay."
        if error is TopicAuthorizationFailedError:
            return f"Kafka refuses to show the offsets of topic {topic}. Grant READ on the topic to the Kafka user of the relay."
        name = "" if error is None else f" ({error.__name__})"
        return f"reading the committed offset of group {group} failed{name}: {said}"

    async def close(self) -> None:
        await self._client.close()


class ResponsesReader:
    """Reads stretches of a responses partition, as committed. One may be used for many partitions, one at a time.

    However long a stretch is, it is read as long as more of it comes within `patience` seconds.
    """

    def __init__(
        self,
        source: ConnectionSource,
        topic: str,
        *,
        patience: float = REQUEST_DEADLINE,
        max_batch_bytes: int = DEFAULT_MAX_BATCH_BYTES,
        client: Callable[..., Any] = AIOKafkaConsumer,
    ) -> None:
        """`client` makes a consumer from aiokafka's keyword arguments."""
        self._client = LazyClient(lambda: _committed_reader(source, client), self._read_safely)
        self._topic = topic
        self._patience = patience
        self._max_batch_bytes = max_batch_bytes
        self._troubles: dict[TopicPartition, Trouble] = {}
        self._too_large: dict[TopicPartition, Unreadable] = {}
        """The first batch of each partition that relays wrote and that exceeds the bound."""
        self._turn = asyncio.Lock()

    async def read(
        self, number: int, start: int, take: Callable[[int, bytes, bytes | None], None], *, only: bool = False
    ) -> int:
        """Call `take` with (offset, key, value) of every record from `start` to the partition's end; the end offset.

        With `only`, stop after the first record at or after `start`. Raises KafkaUnavailable, also at a batch that a
        relay wrote and that exceeds the bound: without it an older state would be restored.
        """
        try:
            async with self._turn, asyncio.timeout(self._patience) as deadline:
                return await self._read(number, start, take, only, deadline)
        except CLIENT_ERRORS as error:
            await self.close()
            raise KafkaUnavailable(f"reading {self._topic} failed: {error}") from error

    async def _read(
        self,
        number: int,
        start: int,
        take: Callable[[int, bytes, bytes | None], None],
        only: bool,
        deadline: asyncio.Timeout,
    ) -> int:
        consumer = await self._client.started()
        now = asyncio.get_running_loop().time
        partition = TopicPartition(self._topic, number)
        # A partition without a leader must not keep others waiting for long.
        async with asyncio.timeout(OFFSETS_DEADLINE):
            end: int = (await consumer.end_offsets([partition]))[partition]
            first: int = (await consumer.beginning_offsets([partition]))[partition]
        if max(start, first) >= end:
            return end
        self._troubles.pop(partition, None)
        self._too_large.pop(partition, None)
        consumer.assign([partition])
        consumer.seek(partition, max(start, first))
        try:
            reached = -1
            while (position := await consumer.position(partition)) < end:
                if position > reached:
                    reached = position
                    deadline.reschedule(now() + self._patience)
                fetched = await consumer.getmany(timeout_ms=200, max_records=2_000)
                if (trouble := self._troubles.get(partition)) is not None:
                    raise KafkaUnavailable(f"{trouble}. Restore the broker's log of this partition.")
                too_large = self._too_large.get(partition)
                for record in fetched.get(partition, ()):
                    if too_large is not None and record.offset > too_large.offset:
                        break
                    if record.offset >= start:
                        take(record.offset, record.key or b"", record.value)
                        if only:
                            return end
                if too_large is not None and too_large.offset < end:
                    raise KafkaUnavailable(_advice(partition, too_large))
        finally:
            consumer.pause(partition)  # or it would continue to fetch the next records
        return end

    def _read_safely(self, consumer: Any) -> None:
        fetches = read_safely(consumer, limit=self._max_batch_bytes, as_read=True, refuse=self._pass_over)
        self._troubles = fetches.troubles

    def _pass_over(self, partition: TopicPartition, unreadable: Unreadable) -> None:
        """Notes what relays wrote; only they write transactions. Nothing can be restored from what others wrote."""
        report_unreadable(log.error, "response_records_unreadable", partition, unreadable)
        if unreadable.fault is Fault.TOO_LARGE and unreadable.transactional:
            self._too_large.setdefault(partition, unreadable)

    async def close(self) -> None:
        await self._client.close()


def _committed_reader(source: ConnectionSource, client: Callable[..., Any]) -> Any:
    return client(
        **source().arguments(),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=50,
        max_partition_fetch_bytes=8 * 1024 * 1024,
    )


def _advice(partition: TopicPartition, unreadable: Unreadable) -> str:
    return (
        f"{partition.topic}-{partition.partition} can't be read further: {unreadable.detail}. "
        "Set TOKENSTREAM_MAX_BATCH_BYTES to more than that, or TOKENSTREAM_MAX_RESPONSE_BYTES to what it was."
    )
