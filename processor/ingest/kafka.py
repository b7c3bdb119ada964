"""Kafka, by aiokafka: the consumer and its group membership, the transactional writer of a partition, takeover reads.

aiokafka's internals are used in `GroupMembership` alone: it observes the coordinator's heartbeats, which the library
does not report, and asks for a rejoin. `tests/integration/relay/test_kafka_internals.py` fails when they change.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import InvalidProducerEpoch, KafkaError, ProducerFenced
from aiokafka.structs import OffsetAndMetadata

from processor.clock import Clock
from processor.core.response import Raw
from processor.errors import KafkaUnavailable, PartitionLost
from processor.ingest.ports import Record

log = structlog.get_logger(__name__)

HEARTBEAT_INTERVAL = 0.25
STOP_DEADLINE = 5.0
REQUEST_DEADLINE = 30.0
POSITION_DEADLINE = 1.0
FETCH_ROOM = 5.0

ClientOptions = Callable[[], Mapping[str, Any]]
"""Keyword arguments every aiokafka client gets: servers and security. Asked anew for each client: secrets rotate."""


class GroupMembership:
    """When the group last said that this member belongs to it, by heartbeats that were answered.

    The lease: the group gives this member's partitions away no sooner than a session timeout after the coordinator took
    its last heartbeat, and that was not before it was sent. So until `sent + session timeout - margin` nobody else owns
    them.
    """

    def __init__(self, session_timeout: float, clock: Clock) -> None:
        self._clock = clock
        self._lease = session_timeout - min(1.0, session_timeout / 5)
        self._sent = float("-inf")
        self._observed = clock.monotonic()
        self._beat = asyncio.Event()
        self._coordinator: Any = None

    def observe(self, consumer: AIOKafkaConsumer) -> None:
        """Watch the consumer's heartbeats from now on. To be called once it has started."""
        coordinator = consumer._coordinator  # noqa: SLF001 - see the module's docstring
        heartbeat: Callable[[], Awaitable[bool]] = coordinator._do_heartbeat  # noqa: SLF001

        async def observed() -> bool:
            sent = self._clock.monotonic()
            answered = await heartbeat()
            if answered:
                self._sent = sent
                self._beat.set()
            return answered

        coordinator._do_heartbeat = observed  # noqa: SLF001
        self._observed = self._clock.monotonic()
        self._coordinator = coordinator

    def holds(self) -> bool:
        """Whether the lease is good now."""
        return self._clock.monotonic() < self._sent + self._lease

    async def heartbeat_after(self, moment: float) -> None:
        """Wait for an answered heartbeat that was sent after `moment`. May wait for ever."""
        while self._sent <= moment:
            self._beat.clear()
            await self._beat.wait()

    def silence(self) -> float:
        """Seconds since the last answered heartbeat was sent, or since there is a consumer."""
        return self._clock.monotonic() - max(self._sent, self._observed)

    def rejoin(self) -> None:
        """Ask the group for a new assignment at once."""
        if self._coordinator is not None:
            self._coordinator.request_rejoin()


class Consumer:
    """Reads the tokens topic as a member of the group; commits nothing by itself."""

    def __init__(
        self,
        options: ClientOptions,
        *,
        topic: str,
        group_id: str,
        instance_id: str | None,
        session_timeout: float,
        rebalance_timeout: float,
        isolation_level: str,
        clock: Clock,
    ) -> None:
        self.topic = topic
        self.patience = rebalance_timeout + 2 * session_timeout
        """Seconds of silence after which a consumer is given up: joining a group may take the rebalance timeout."""
        self.membership = GroupMembership(session_timeout, clock)
        self._ends = LogEnds(options)
        self._new: Callable[[], Any] = lambda: AIOKafkaConsumer(
            **options(),
            group_id=group_id,
            group_instance_id=instance_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level=isolation_level,
            session_timeout_ms=int(session_timeout * 1000),
            heartbeat_interval_ms=int(min(HEARTBEAT_INTERVAL, session_timeout / 4) * 1000),
            rebalance_timeout_ms=int(rebalance_timeout * 1000),
            partition_assignment_strategy=(StickyPartitionAssignor,),
            max_partition_fetch_bytes=2 * 1024 * 1024,
            fetch_max_wait_ms=250,
            retry_backoff_ms=100,
            metadata_max_age_ms=30_000,
        )
        self._consumer = self._new()
        self._stopped = False

    async def start(self, listener: ConsumerRebalanceListener) -> None:
        """Raises KafkaUnavailable, and may then be called again."""
        if self._stopped:
            self._consumer = self._new()  # one that was stopped can't be started again
            self._stopped = False
        try:
            await self._consumer.start()
        except KafkaError as error:
            self._stopped = True
            with contextlib.suppress(Exception):
                await self._consumer.stop()
            raise KafkaUnavailable(f"can't connect to Kafka: {error}") from error
        self.membership.observe(self._consumer)
        self._consumer.subscribe(topics=[self.topic], listener=listener)

    async def renew(self) -> None:
        """Throw the client away; `start` makes another."""
        await self.stop()

    async def stop(self) -> None:
        self._stopped = True
        with contextlib.suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(STOP_DEADLINE):
                await self._ends.close()
                await self._consumer.stop()

    def partition(self, number: int) -> TopicPartition:
        return TopicPartition(self.topic, number)

    async def fetch(self, max_records: int, wait: float) -> Mapping[int, Sequence[Raw]]:
        """Records by partition, in offset order, of the partitions not paused. Raises KafkaUnavailable."""
        try:
            async with asyncio.timeout(wait + FETCH_ROOM):
                fetched = await self._consumer.getmany(timeout_ms=int(wait * 1000), max_records=max_records)
        except (KafkaError, TimeoutError) as error:
            raise KafkaUnavailable(f"fetching failed: {error}") from error
        return {partition.partition: records for partition, records in fetched.items()}

    async def position(self, number: int) -> int:
        try:
            async with asyncio.timeout(POSITION_DEADLINE):
                position: int = await self._consumer.position(self.partition(number))
        except (KafkaError, TimeoutError) as error:
            raise KafkaUnavailable(f"reading the position failed: {error}") from error
        return position

    async def end_offset(self, number: int) -> int:
        """The log's end (its high watermark), asked of the broker now. Raises KafkaUnavailable.

        Not the last stable offset, which is what a consumer of committed records is told: behind an open transaction there
        may stand what a timer is about to give up.
        """
        return await self._ends.read(self.partition(number))

    async def first_offset(self, number: int) -> int:
        try:
            firsts = await self._consumer.beginning_offsets([self.partition(number)])
        except KafkaError as error:
            raise KafkaUnavailable(f"reading the first offset failed: {error}") from error
        first: int = firsts[self.partition(number)]
        return first

    def seek(self, number: int, offset: int) -> None:
        self._consumer.seek(self.partition(number), offset)

    def pause(self, *numbers: int) -> None:
        assigned = self._consumer.assignment()
        self._consumer.pause(*[tp for tp in map(self.partition, numbers) if tp in assigned])

    def resume(self, *numbers: int) -> None:
        assigned = self._consumer.assignment()
        self._consumer.resume(*[tp for tp in map(self.partition, numbers) if tp in assigned])

    def high_water(self, number: int) -> int | None:
        """The log's end as of the newest fetch; None before the first."""
        partition = self.partition(number)
        if partition not in self._consumer.assignment():
            return None
        end: int | None = self._consumer.highwater(partition)
        return end

    @property
    def assigned(self) -> frozenset[int]:
        return frozenset(tp.partition for tp in self._consumer.assignment())


class LogEnds:
    """Reads high watermarks, by a consumer that fetches nothing."""

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._turn = asyncio.Lock()
        self._consumer: AIOKafkaConsumer | None = None

    async def read(self, partition: TopicPartition) -> int:
        """Raises KafkaUnavailable."""
        try:
            async with self._turn, asyncio.timeout(REQUEST_DEADLINE):
                if self._consumer is None:
                    consumer = AIOKafkaConsumer(
                        **self._options(), group_id=None, enable_auto_commit=False, isolation_level="read_uncommitted"
                    )
                    await consumer.start()
                    self._consumer = consumer
                end: int = (await self._consumer.end_offsets([partition]))[partition]
                return end
        except (KafkaError, TimeoutError, OSError) as error:
            await self.close()
            raise KafkaUnavailable(f"reading the end offset failed: {error}") from error

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(Exception):
                await consumer.stop()


class CommittedOffsets:
    """Reads what a group committed, metadata included."""

    def __init__(self, options: ClientOptions, group_id: str, topic: str) -> None:
        self._options = options
        self._group_id = group_id
        self._topic = topic
        self._admin: AIOKafkaAdminClient | None = None

    async def read(self, number: int) -> tuple[int, str] | None:
        """(offset, metadata) of a partition, or None where the group has committed nothing. Raises KafkaUnavailable."""
        partition = TopicPartition(self._topic, number)
        try:
            async with asyncio.timeout(REQUEST_DEADLINE):
                if self._admin is None:
                    admin = AIOKafkaAdminClient(**self._options())
                    await admin.start()
                    self._admin = admin
                offsets = await self._admin.list_consumer_group_offsets(self._group_id, partitions=[partition])
        except (KafkaError, TimeoutError, OSError) as error:
            await self.close()
            raise KafkaUnavailable(f"reading the committed offset failed: {error}") from error
        committed = offsets.get(partition)
        if committed is None or committed.offset < 0:
            return None
        return committed.offset, committed.metadata

    async def close(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            with contextlib.suppress(Exception):
                await admin.close()


class ResponsesReader:
    """Reads stretches of a responses partition, as committed. One may be used for many partitions, one at a time."""

    def __init__(self, options: ClientOptions, topic: str) -> None:
        self._options = options
        self._topic = topic
        self._turn = asyncio.Lock()
        self._consumer: AIOKafkaConsumer | None = None

    async def read(
        self, number: int, start: int, take: Callable[[int, bytes, bytes | None], None], *, only: bool = False
    ) -> int:
        """Call `take` with (offset, key, value) of every record from `start` to the partition's end; the end offset.

        With `only`, stop after the first record at or after `start`. Raises KafkaUnavailable.
        """
        try:
            async with self._turn, asyncio.timeout(20 * REQUEST_DEADLINE):
                return await self._read(number, start, take, only)
        except (KafkaError, TimeoutError, OSError) as error:
            await self.close()
            raise KafkaUnavailable(f"reading {self._topic} failed: {error}") from error

    async def _read(self, number: int, start: int, take: Callable[[int, bytes, bytes | None], None], only: bool) -> int:
        consumer = await self._started()
        partition = TopicPartition(self._topic, number)
        consumer.assign([partition])
        end: int = (await consumer.end_offsets([partition]))[partition]
        first: int = (await consumer.beginning_offsets([partition]))[partition]
        consumer.seek(partition, max(start, first))
        while await consumer.position(partition) < end:
            fetched = await consumer.getmany(timeout_ms=200, max_records=2_000)
            for record in fetched.get(partition, ()):
                if record.offset >= start:
                    take(record.offset, record.key or b"", record.value)
                    if only:
                        return end
        return end

    async def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                **self._options(),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                fetch_max_wait_ms=50,
                max_partition_fetch_bytes=8 * 1024 * 1024,
            )
            await consumer.start()
            self._consumer = consumer
        return self._consumer

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(Exception):
                await consumer.stop()


class TransactionalWriter:
    """The one producer that writes a partition's durable state. Starting it fences whoever had it before."""

    def __init__(
        self, options: ClientOptions, *, transactional_id: str, group_id: str, source: TopicPartition, max_bytes: int
    ) -> None:
        self._options = options
        self._transactional_id = transactional_id
        self._group_id = group_id
        self._source = source
        self._max_bytes = max_bytes
        self._producer: AIOKafkaProducer | None = None

    @property
    def started(self) -> bool:
        return self._producer is not None

    async def start(self) -> None:
        """Fence predecessors; their open transaction is aborted when this returns. Raises KafkaUnavailable."""
        producer = AIOKafkaProducer(
            **self._options(),
            transactional_id=self._transactional_id,
            acks="all",
            linger_ms=0,
            max_batch_size=65_536,
            max_request_size=self._max_bytes,
            compression_type="lz4",
            transaction_timeout_ms=90_000,
            request_timeout_ms=int(REQUEST_DEADLINE * 1000),
            retry_backoff_ms=50,
        )
        try:
            async with asyncio.timeout(REQUEST_DEADLINE):
                await producer.start()
        except BaseException as error:
            await _stop_quietly(producer)
            if isinstance(error, KafkaError | TimeoutError | OSError):
                raise KafkaUnavailable(f"starting the transactional producer failed: {error!r}") from error
            raise
        self._producer = producer

    async def write(
        self, records: Sequence[Record], commit: Callable[[Sequence[int]], tuple[int, str]]
    ) -> tuple[int, str]:
        """Write records and the offset `commit` names, in one transaction.

        `commit` gets the offsets of the records, in order, and answers (tokens offset, metadata). Raises PartitionLost
        when another producer has taken over, KafkaUnavailable when it is not known whether the transaction committed:
        then `start` again and write the same once more.
        """
        producer = self._producer
        if producer is None:
            raise KafkaUnavailable("the transactional producer is not started")
        try:
            async with asyncio.timeout(2 * REQUEST_DEADLINE):
                await producer.begin_transaction()
                offsets = await self._send(producer, records)
                point = commit(offsets)
                await producer.send_offsets_to_transaction(
                    {self._source: OffsetAndMetadata(point[0], point[1])}, self._group_id
                )
                await producer.commit_transaction()
        except (ProducerFenced, InvalidProducerEpoch) as error:
            await self.stop()
            raise PartitionLost(f"another owner has taken over {self._transactional_id}") from error
        except (KafkaError, TimeoutError, OSError) as error:
            await self.stop()
            raise KafkaUnavailable(f"a transaction failed: {error!r}") from error
        except BaseException:
            await self.stop()
            raise
        return point

    @staticmethod
    async def _send(producer: AIOKafkaProducer, records: Sequence[Record]) -> list[int]:
        futures = [
            await producer.send(topic, value=value, key=key, partition=partition, headers=list(headers))
            for topic, partition, key, value, headers in records
        ]
        offsets: list[int] = []
        failure: BaseException | None = None
        for result in await asyncio.gather(*futures, return_exceptions=True):
            if isinstance(result, BaseException):
                failure = failure or result
            else:
                offsets.append(result.offset)
        if failure is not None:
            raise failure
        return offsets

    async def stop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop_quietly(producer)


async def _stop_quietly(producer: AIOKafkaProducer) -> None:
    """Stop a producer that may be half dead: what it still held is written again by whoever comes next."""
    try:
        async with asyncio.timeout(STOP_DEADLINE):
            await producer.stop()
    except Exception as error:  # noqa: BLE001 - it is thrown away whatever it says
        log.debug("stopping a producer failed", error=type(error).__name__)
