"""Delivers records to one topic: each response's in the order of the calls, each once, with a bound on unacknowledged
records.

A batch that the broker refuses leaves a gap in aiokafka's sequence numbers: the broker would refuse all later batches
of that partition as out of order. Then the connection is closed, and the refused records are sent again, in order, on
a new one.
The records of a refused batch are sent one by one, so that only the record at fault fails.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    PolicyViolationError,
    ProducerClosed,
    RecordListTooLargeError,
    UnknownTopicOrPartitionError,
)
from aiokafka.protocol.admin import DescribeConfigsRequest
from aiokafka.protocol.metadata import MetadataRequest

from topics.client_tasks import look_at
from topics.errors import TokenstreamError

_HANG_UP_SECONDS = 5.0
_DESCRIBE_SECONDS = 5.0
_ASK_AGAIN_SECONDS = 0.05
_TOPIC = 2  # resource type in DescribeConfigs
_BATCH_OVERHEAD = 128  # of the batch's header and the record's, without the key
_OF_THE_BATCH = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    InvalidTimestampError,
    PolicyViolationError,
    CorruptRecordException,
)
"""No record of the batch was written, and one of them may be the reason."""
_T = TypeVar("_T")
Headers = Sequence[tuple[str, bytes]]


class DeliveryError(TokenstreamError):
    """Kafka did not take a record. Raised by the next call on the response, or when its block is left."""


class RecordTooLargeError(DeliveryError, ValueError):
    """The record is over the topic's `max.message.bytes`. It was not sent and took no number: the response may go on."""


@dataclass(slots=True, eq=False)
class _Record:
    key: bytes
    value: bytes
    timestamp: int
    settled: Callable[[Exception | None], None]
    headers: Headers = ()
    number: int = 0
    """Its place in the order of handing over."""
    alone: bool = False
    """To be sent as a batch of its own."""


class Delivery:
    """Delivers records between `connect` and `close`. `deadline` (seconds) bounds connecting, and flushing
    unacknowledged records.
    """

    def __init__(self, servers: str, topic: str, options: dict[str, Any], window: "Window", deadline: float) -> None:
        self._servers = servers
        self._topic = topic
        self._options = options
        self._window = window
        self._deadline = deadline
        self._limit: int | None = None
        self._kafka: AIOKafkaProducer | None = None
        self._handed_over = 0
        self._again: list[_Record] = []
        self._broken = False
        self._refused = False
        self._repair: asyncio.Task[Exception | None] | None = None

    async def connect(self) -> None:
        """Connects. Raises DeliveryError if no broker answers or the topic does not exist."""
        self._kafka = await self._connect()

    async def close(self) -> bool:
        """Flushes and closes within the deadline. Returns False if unacknowledged records were given up."""
        if self._repair is not None:
            await asyncio.wait({self._repair}, timeout=self._deadline)
            self._repair.cancel()
            await asyncio.wait({self._repair})
        kafka, self._kafka = self._kafka, None
        in_time = kafka is None or await self._hang_up(kafka)
        await asyncio.sleep(0)  # what was just settled has its callbacks called in the next turn
        self._give_up(KafkaError("the producer was closed"))
        return in_time

    async def check(self, key: bytes, seconds: float) -> None:
        """Raises DeliveryError unless the broker that takes the records of this key answers within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while not await self._answers(await self._connection(), key):
                    await asyncio.sleep(_ASK_AGAIN_SECONDS)
        except TimeoutError:
            raise DeliveryError(
                f"the broker that takes records of topic {self._topic} did not answer within {seconds:g} s; "
                f"is Kafka at {self._servers} reachable?"
            ) from None

    async def _answers(self, kafka: AIOKafkaProducer, key: bytes) -> bool:
        partition = kafka._partition(self._topic, None, None, None, key, None)  # noqa: SLF001 - the one `send` would take
        leader = kafka.client.cluster.leader_for_partition(TopicPartition(self._topic, partition))
        try:
            await kafka.client.send(leader, MetadataRequest([self._topic]))
        except (KafkaError, OSError):
            await kafka.client.force_metadata_update()
            return False
        return True

    async def send(
        self,
        key: bytes,
        value: bytes,
        timestamp: int,
        settled: Callable[[Exception | None], None],
        headers: Headers = (),
    ) -> None:
        """Passes one record to Kafka.

        If it raises or is cancelled, the record was not passed; otherwise `settled` is called once, later.
        """
        size = len(value)
        await self._window.enter(size)
        try:
            while True:
                kafka = await self._connection()
                self._check_size(kafka, key, value, timestamp)
                try:
                    await self._hand_over(kafka, _Record(key, value, timestamp, settled, headers))
                except ProducerClosed:
                    if kafka is self._kafka and not self._broken:
                        raise
                else:
                    return
        except BaseException:
            self._window.leave(size)
            raise

    def explain(self, what: str, error: BaseException) -> str:
        if isinstance(error, RecordTooLargeError):
            return f"{what} was not delivered to topic {self._topic}: {error}"
        if isinstance(error, UnknownTopicOrPartitionError):
            return (
                f"{what} was not delivered: topic {self._topic} does not exist; `tokenstream topics apply` creates it"
            )
        if isinstance(error, MessageSizeTooLargeError):
            return f"{what} was not delivered to topic {self._topic}: it is over the topic's max.message.bytes"
        return f"{what} was not delivered to topic {self._topic}: {type(error).__name__}: {error}"

    async def _connection(self) -> AIOKafkaProducer:
        """Returns the connection to send on, after a broken one is replaced."""
        while self._broken or (self._repair is not None and not self._repair.done()):
            repair = self._begin_repair()
            await asyncio.wait({repair})
            if (failure := repair.result()) is not None:
                raise DeliveryError(str(failure)) from failure
        if self._kafka is None:
            raise RuntimeError("the producer is not connected: use it within its block")
        return self._kafka

    async def _hand_over(self, kafka: AIOKafkaProducer, record: _Record) -> asyncio.Future[object]:
        delivery: asyncio.Future[object] = await kafka.send(
            self._topic, record.value, key=record.key, timestamp_ms=record.timestamp, headers=list(record.headers)
        )
        if not record.number:
            self._handed_over += 1
            record.number = self._handed_over
        delivery.add_done_callback(lambda done: self._settle(kafka, record, done))
        return delivery

    def _settle(self, kafka: AIOKafkaProducer, record: _Record, done: asyncio.Future[object]) -> None:
        error = KafkaError("the producer was closed") if done.cancelled() else done.exception()
        if error is None:
            self._settled(record, None)
            return
        if kafka is self._kafka:
            self._refused = self._refused or isinstance(error, _OF_THE_BATCH)
            self._broken = True
        if self._kafka is not None and self._may_be_sent_again(record, error):
            record.alone = isinstance(error, _OF_THE_BATCH)
            self._again.append(record)
            self._begin_repair()
            return
        self._settled(record, error if isinstance(error, Exception) else KafkaError(repr(error)))

    def _may_be_sent_again(self, record: _Record, error: BaseException) -> bool:
        """Returns True if the record was not written, and the refusal of another record may be the reason."""
        if isinstance(error, _OF_THE_BATCH):
            return not record.alone
        return self._refused and isinstance(error, OutOfOrderSequenceNumber)

    def _settled(self, record: _Record, error: Exception | None) -> None:
        self._window.leave(len(record.value))
        record.settled(error)

    def _begin_repair(self) -> asyncio.Task[Exception | None]:
        if self._repair is None or self._repair.done():
            self._repair = asyncio.create_task(self._reconnect())
        return self._repair

    async def _reconnect(self) -> Exception | None:
        """Replaces the connection until no record is left to send again. Returns the error that prevents it."""
        try:
            while self._broken and self._kafka is not None:
                await self._hang_up(self._kafka)
                await asyncio.sleep(0)  # for the callbacks of what was settled last
                self._kafka = await self._connect()
                self._broken = self._refused = False
                await self._send_again(self._kafka)
        except Exception as error:  # noqa: BLE001 - whatever it is, the records that wait for it fail by it
            self._broken = True
            self._give_up(error)
            return error
        return None

    async def _send_again(self, kafka: AIOKafkaProducer) -> None:
        self._again.sort(key=lambda record: record.number)
        while self._again and not self._broken:
            record = self._again[0]
            try:
                delivery = await self._hand_over(kafka, record)
            except KafkaError as error:
                self._again.remove(record)
                self._settled(record, error)
                continue
            self._again.remove(record)
            if record.alone:
                await asyncio.wait({delivery})

    def _give_up(self, error: Exception) -> None:
        again, self._again = self._again, []
        for record in again:
            self._settled(record, error)

    async def _connect(self) -> AIOKafkaProducer:
        """Connects with batches of the size that the topic accepts; the limit is learned from the connection."""
        kafka = await self._start(self._options)
        limit = self._limit = await _message_limit(kafka, self._topic)
        if limit is None or limit >= self._options["max_batch_size"]:
            return kafka
        await uncancelled(self._hang_up(kafka))
        return await self._start(self._options | {"max_batch_size": limit})

    async def _start(self, options: dict[str, Any]) -> AIOKafkaProducer:
        kafka = AIOKafkaProducer(bootstrap_servers=self._servers, acks="all", enable_idempotence=True, **options)
        try:
            async with asyncio.timeout(self._deadline):
                await kafka.start()
                await kafka.partitions_for(self._topic)
        except (KafkaError, TimeoutError) as error:
            await uncancelled(self._hang_up(kafka))
            raise DeliveryError(self._explain_start(error)) from error
        except BaseException:
            await uncancelled(self._hang_up(kafka))
            raise
        return kafka

    async def _hang_up(self, kafka: AIOKafkaProducer) -> bool:
        closing = asyncio.ensure_future(kafka.stop())
        await asyncio.wait({closing}, timeout=self._deadline)
        in_time = closing.done()
        if not in_time:
            # An idempotent aiokafka producer retries without end, and stop() waits for that: fail what it waits for, and hang up.
            kafka._message_accumulator.fail_all(KafkaError("given up when closing"))  # noqa: SLF001
            await kafka.client.close()
            await asyncio.wait({closing}, timeout=_HANG_UP_SECONDS)
            closing.add_done_callback(look_at)
        return in_time and closing.exception() is None

    def _check_size(self, kafka: AIOKafkaProducer, key: bytes, value: bytes, timestamp: int) -> None:
        """Raises RecordTooLargeError for a record that the broker would refuse as a batch of its own, compressed as
        the producer compresses.
        """
        limit = self._limit
        if limit is None or len(value) + len(key) + _BATCH_OVERHEAD <= limit:
            return
        batch = kafka.create_batch()
        batch.append(timestamp=timestamp, key=key, value=value)
        size = len(batch._build())  # noqa: SLF001 - only a built batch is compressed
        if size > limit:
            raise RecordTooLargeError(
                f"it takes {size} bytes, and the topic's max.message.bytes is {limit}: write the text as several tokens"
            )

    def _explain_start(self, error: Exception) -> str:
        if isinstance(error, UnknownTopicOrPartitionError):
            return f"topic {self._topic} does not exist at {self._servers}; `tokenstream topics apply` creates it"
        reason = f"no answer within {self._deadline:g} s" if isinstance(error, TimeoutError) else str(error)
        return f"can't connect to Kafka at {self._servers} for topic {self._topic}: {reason}"


class Window:
    """Bounds what is unacknowledged, in records and bytes. One record always fits an empty window, however large."""

    def __init__(self, max_records: int, max_bytes: int) -> None:
        self.records = 0
        self._bytes = 0
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._room = asyncio.Event()

    async def enter(self, size: int) -> None:
        while self.records >= self._max_records or (self.records and self._bytes + size > self._max_bytes):
            self._room.clear()
            await self._room.wait()
        self.records += 1
        self._bytes += size

    def leave(self, size: int) -> None:
        self.records -= 1
        self._bytes -= size
        self._room.set()


async def _message_limit(kafka: AIOKafkaProducer, topic: str) -> int | None:
    """Returns the topic's `max.message.bytes`; None if the broker does not return it, for example without the right
    to DescribeConfigs.
    """
    request = DescribeConfigsRequest([(_TOPIC, topic, ["max.message.bytes"])])
    try:
        async with asyncio.timeout(_DESCRIBE_SECONDS):
            response = await kafka.client.send(kafka.client.get_random_node(), request)
        return limit_told(response.resources)
    except (KafkaError, TimeoutError, OSError):
        return None


def limit_told(resources: Sequence[Sequence[Any]]) -> int | None:
    """Returns the `max.message.bytes` in the resources of a DescribeConfigs answer, if present."""
    for error_code, _message, _type, _name, configs in resources:
        for name, value, *_ in configs:
            if not error_code and name == "max.message.bytes" and value is not None and value.isdecimal():
                return int(value)
    return None


async def uncancelled(finish: Coroutine[Any, Any, _T]) -> _T:
    """Runs `finish` to its end, which has a deadline of its own, even if the caller is cancelled. Then the
    cancellation continues.

    An error of `finish` never replaces a cancellation: a caller that retries would continue.
    """
    task = asyncio.ensure_future(finish)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled from (None if task.cancelled() else task.exception())
    return task.result()
