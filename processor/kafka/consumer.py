"""Reads the tokens topic as a member of the group."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import random
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from processor.clock import Clock
from processor.core.items import Raw, Refused
from processor.errors import KafkaUnavailable, RecordsGone
from processor.kafka.connection import ConnectionSource
from processor.kafka.fetching import Fetching
from processor.kafka.membership import GroupMembership
from processor.kafka.options import CLIENT_ERRORS, STOP_DEADLINE
from processor.kafka.readers import LogEnds
from processor.kafka.record_batches import (
    DEFAULT_MAX_BATCH_BYTES,
    Fetches,
    Trouble,
    Unreadable,
    advice_on,
    read_safely,
    report_trouble,
)
from processor.kafka.stopping import stop_quietly
from processor.kafka.unreachable import why_unreachable
from processor.ports.log import RebalanceListener
from topics.client_tasks import stop_consumer
from topics.records import Reason

log = structlog.get_logger(__name__)

HEARTBEAT_INTERVAL = 0.25
FETCH_ROOM = 5.0
GATHERING = 0.004
"""Seconds between two fetches while records trickle: half of it is added to a token's latency at most, on average."""


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Translates the client's callbacks."""

    def __init__(self, listener: RebalanceListener) -> None:
        self._listener = listener

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        await self._listener.on_partitions_assigned(sorted(each.partition for each in assigned))

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._listener.on_partitions_revoked(sorted(each.partition for each in revoked))


class Consumer:
    """Reads the tokens topic as a member of the group; commits nothing by itself."""

    def __init__(
        self,
        source: ConnectionSource,
        *,
        topic: str,
        group_id: str,
        instance_id: str | None,
        session_timeout: float,
        rebalance_timeout: float,
        isolation_level: str,
        clock: Clock,
        max_batch_bytes: int = DEFAULT_MAX_BATCH_BYTES,
        chance: Callable[[], float] = random,
        retried: Callable[[], None] = lambda: None,
    ) -> None:
        """`chance` and `retried` are those of `Fetching`."""
        self.topic = topic
        self.patience = rebalance_timeout + 2 * session_timeout
        """Seconds of silence after which a consumer is given up: joining a group may take the rebalance timeout."""
        self.membership = GroupMembership(session_timeout, clock)
        self._ends = LogEnds(source)
        self._source = source
        self._new: Callable[[], Any] = (
            lambda: AIOKafkaConsumer(
                **source().arguments(),
                group_id=group_id,
                group_instance_id=instance_id,
                enable_auto_commit=False,
                auto_offset_reset="none",  # a takeover determines the start; records deleted since must not be skipped silently
                isolation_level=isolation_level,
                session_timeout_ms=int(session_timeout * 1000),
                heartbeat_interval_ms=int(min(HEARTBEAT_INTERVAL, session_timeout / 4) * 1000),
                rebalance_timeout_ms=int(rebalance_timeout * 1000),
                partition_assignment_strategy=(StickyPartitionAssignor,),
                retry_backoff_ms=100,
                metadata_max_age_ms=30_000,
            )
        )
        self._max_batch_bytes = max_batch_bytes
        self._chance = chance
        self._retried = retried
        self._consumer = self._new()
        self._fetches: Fetches | None = None
        self._fetching: Fetching | None = None
        self._stopped = False

    async def start(self, listener: RebalanceListener) -> None:
        """Raises KafkaUnavailable, and may then be called again."""
        if self._stopped:
            self._consumer = self._new()  # one that was stopped can't be started again
            self._stopped = False
        try:
            await self._consumer.start()
        except CLIENT_ERRORS as error:
            self._stopped = True
            await stop_quietly(self._consumer)
            raise KafkaUnavailable(f"can't connect to Kafka: {error}") from error
        if self._stopped:
            await stop_quietly(self._consumer)
            raise KafkaUnavailable("the consumer was stopped while it connected")
        self._read_safely()
        self.membership.observe(self._consumer)
        self._consumer.subscribe(topics=[self.topic], listener=_Listener(listener))

    async def renew(self) -> None:
        """Throw the client away; `start` makes another."""
        await self.stop()

    async def reachable(self) -> bool:
        """Whether a new connection to Kafka can be made now; answers within seconds."""
        try:
            return await why_unreachable(self._source()) is None
        except KafkaUnavailable:  # a secret's file can't be read
            return False

    async def stop(self) -> None:
        self._stopped = True
        with contextlib.suppress(KafkaError, TimeoutError):
            async with asyncio.timeout(STOP_DEADLINE):
                await self._ends.close()
                if self._fetching is not None:
                    await self._fetching.close()
                await stop_consumer(self._consumer)

    def _partition(self, number: int) -> TopicPartition:
        return TopicPartition(self.topic, number)

    async def fetch(self, max_records: int, wait: float) -> Mapping[int, Sequence[Raw]]:
        """Records by partition, in offset order, of the partitions not paused.

        Raises KafkaUnavailable; RecordsGone where a partition's next records were deleted before they could be read.
        """
        if self._fetching is None:
            raise KafkaUnavailable("the consumer is not started")
        try:
            async with asyncio.timeout(wait + FETCH_ROOM):
                fetched = await self._fetching.fetch(max_records, wait)
        except OffsetOutOfRangeError as error:
            raise RecordsGone({partition.partition: offset for partition, offset in error.args[0].items()}) from error
        except Exception as error:
            # Whatever a library does with what it was sent, it must not end the process.
            raise KafkaUnavailable(f"fetching failed: {error!r}") from error
        return {partition.partition: records for partition, records in fetched.items()}

    # Reading what may be anything

    def _read_safely(self) -> None:
        self._fetches = read_safely(
            self._consumer,
            limit=self._max_batch_bytes,
            as_read=True,
            refuse=_refuse,
            noted=_log_trouble,
            patience=GATHERING,
        )
        self._fetching = Fetching(self._consumer, self._fetches, chance=self._chance, retried=self._retried)

    @property
    def troubles(self) -> Mapping[int, str]:
        """The assigned partitions that cannot be read further, each with a sentence that gives the reason and what to
        do.
        """
        if self._fetches is None or self._fetching is None:
            return {}
        unanswered, unreadable = self._fetching.not_fetched, self._fetches.troubles
        if not unanswered and not unreadable:
            return {}
        said = {tp: _unanswered(tp, cause) for tp, cause in unanswered.items()}
        said |= {tp: advice_on(trouble) for tp, trouble in unreadable.items()}
        assigned = self._consumer.assignment()
        return {tp.partition: sentence for tp, sentence in said.items() if tp in assigned}

    def reached(self, number: int) -> int | None:
        """The next offset that will be fetched: behind what was fetched, transaction markers and aborted records too.

        None while the partition is not assigned, or does not know where to begin.
        """
        subscription = self._consumer._subscription.subscription  # noqa: SLF001 - see the package's docstring
        assignment = None if subscription is None else subscription.assignment
        partition = self._partition(number)
        if assignment is None or partition not in assignment.tps:
            return None
        state = assignment.state_value(partition)
        return int(state.position) if state.has_valid_position else None

    async def end_offset(self, number: int) -> int:
        """Returns the log's end (its high watermark), requested from the broker now. Raises KafkaUnavailable.

        It is not the last stable offset, which a consumer of committed records gets: behind an open transaction there
        may be a record that a timer is about to give up.
        """
        return await self._ends.read(self._partition(number))

    async def first_offset(self, number: int) -> int:
        try:
            firsts = await self._consumer.beginning_offsets([self._partition(number)])
        except CLIENT_ERRORS as error:
            raise KafkaUnavailable(f"reading the first offset failed: {error}") from error
        first: int = firsts[self._partition(number)]
        return first

    def seek(self, number: int, offset: int) -> None:
        self._consumer.seek(self._partition(number), offset)

    def pause(self, *numbers: int) -> None:
        assigned = self._consumer.assignment()
        self._consumer.pause(*[tp for tp in map(self._partition, numbers) if tp in assigned])

    def resume(self, *numbers: int) -> None:
        assigned = self._consumer.assignment()
        self._consumer.resume(*[tp for tp in map(self._partition, numbers) if tp in assigned])

    def high_water(self, number: int) -> int | None:
        """The log's end as of the newest fetch; None before the first."""
        partition = self._partition(number)
        if partition not in self._consumer.assignment():
            return None
        end: int | None = self._consumer.highwater(partition)
        return end

    @property
    def assigned(self) -> frozenset[int]:
        return frozenset(tp.partition for tp in self._consumer.assignment())


def _refuse(_: TopicPartition, unreadable: Unreadable) -> Refused:
    return Refused(unreadable, Reason(unreadable.fault), unreadable.detail, unreadable.last)


def _log_trouble(trouble: Trouble) -> None:
    report_trouble(log.error, trouble, advice_on(trouble))


def _unanswered(partition: TopicPartition, cause: str) -> str:
    name = f"{partition.topic}-{partition.partition}"
    return f"{name} is not read: {cause}. It is tried again all the time. If that does not pass, check the brokers and the way to them"
