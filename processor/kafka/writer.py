"""The transactional writer of a partition's durable state."""

import asyncio
from collections.abc import Callable, Sequence

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    InvalidProducerEpoch,
    MessageSizeTooLargeError,
    ProducerFenced,
    RecordListTooLargeError,
)
from aiokafka.structs import OffsetAndMetadata

from processor.errors import KafkaUnavailable, PartitionLost, RecordTooLarge
from processor.kafka.connection import ConnectionSource
from processor.kafka.options import CLIENT_ERRORS, REQUEST_DEADLINE
from processor.kafka.stopping import stop_producer
from processor.ports.log import Committed, Record, WriterFactory

TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)


def transactional_writers(source: ConnectionSource, *, group_id: str, topic: str, max_bytes: int) -> WriterFactory:
    """Writers of the group's partitions. Each has a transactional id of its own, the same in every process."""

    def writer_of(number: int) -> TransactionalWriter:
        return TransactionalWriter(
            source,
            transactional_id=f"{group_id}-{topic}-{number}",
            group_id=group_id,
            topic=topic,
            partition=number,
            max_bytes=max_bytes,
        )

    return writer_of


class TransactionalWriter:
    """The one producer that writes a partition's durable state. Starting it fences whoever had it before."""

    def __init__(
        self,
        source: ConnectionSource,
        *,
        transactional_id: str,
        group_id: str,
        topic: str,
        partition: int,
        max_bytes: int,
    ) -> None:
        """`topic` and `partition` are what offsets are committed of; `max_bytes` bounds a request."""
        self._source = source
        self._transactional_id = transactional_id
        self._group_id = group_id
        self._tokens = TopicPartition(topic, partition)
        self._max_bytes = max_bytes
        self._producer: AIOKafkaProducer | None = None

    @property
    def started(self) -> bool:
        return self._producer is not None

    async def start(self) -> None:
        """Fence predecessors; their open transaction is aborted when this returns. Raises KafkaUnavailable."""
        producer = AIOKafkaProducer(
            **self._source().arguments(),
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
            await stop_producer(producer)
            if isinstance(error, CLIENT_ERRORS):
                raise KafkaUnavailable(f"starting the transactional producer failed: {error!r}") from error
            raise
        self._producer = producer

    async def write(self, records: Sequence[Record], commit: Callable[[Sequence[int]], Committed]) -> Committed:
        """Write records and the offset `commit` names, in one transaction.

        `commit` gets the offsets of the records, in order, and answers (tokens offset, metadata). Raises
        PartitionLost when another producer has taken over, KafkaUnavailable when it is not known whether the
        transaction committed:
        then `start` again and write the same once more. RecordTooLarge is one of these: the same can't be written.
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
                    {self._tokens: OffsetAndMetadata(point[0], point[1])}, self._group_id
                )
                await producer.commit_transaction()
        except (ProducerFenced, InvalidProducerEpoch) as error:
            await self.stop()
            raise PartitionLost(f"another owner has taken over {self._transactional_id}") from error
        except RecordTooLarge:
            await self.stop()
            raise
        except CLIENT_ERRORS as error:
            await self.stop()
            raise KafkaUnavailable(f"a transaction failed: {error!r}") from error
        except BaseException:
            await self.stop()
            raise
        return point

    @staticmethod
    async def _send(producer: AIOKafkaProducer, records: Sequence[Record]) -> list[int]:
        futures = []
        for record in records:
            topic, partition, key, value, headers = record
            try:
                sending = await producer.send(topic, value=value, key=key, partition=partition, headers=list(headers))
            except TOO_LARGE as error:
                raise _too_large(record) from error
            futures.append(sending)
        results = await asyncio.gather(*futures, return_exceptions=True)
        if too_large := [each for each, result in zip(records, results, strict=True) if isinstance(result, TOO_LARGE)]:
            raise _too_large(max(too_large, key=_size))  # the small ones of its batch are refused with it
        offsets: list[int] = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            offsets.append(result.offset)
        return offsets

    async def stop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop_producer(producer)


def _too_large(record: Record) -> RecordTooLarge:
    return RecordTooLarge(record.topic, _size(record))


def _size(record: Record) -> int:
    return len(record.key or b"") + len(record.value or b"")
