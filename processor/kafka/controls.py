"""Writes control records, the api's and the command line's cancels; logs those that are not read."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition

from processor.errors import KafkaUnavailable
from processor.kafka.connection import ConnectionSource
from processor.kafka.options import CLIENT_ERRORS
from processor.kafka.stopping import stop_producer
from topics.controls import ControlRecord, encode_control

log = structlog.get_logger(__name__)

WRITE_SECONDS: Final = 8.0


class KafkaControls:
    """Connects with the first record, or with `connect`. `source` is called for each connection.

    `client` makes a producer from aiokafka's keyword arguments.
    """

    def __init__(
        self,
        source: ConnectionSource,
        *,
        controls_topic: str,
        client: Callable[..., AIOKafkaProducer] = AIOKafkaProducer,
    ) -> None:
        self._source = source
        self._topic = controls_topic
        self._client = client
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()

    async def connect(self) -> None:
        """Raises KafkaUnavailable."""
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._connected()
        except Exception as error:
            raise KafkaUnavailable(f"Kafka can't be connected to: {type(error).__name__}") from error

    async def write(self, record: ControlRecord) -> None:
        """Returns once all replicas acknowledged it. Raises KafkaUnavailable; the record may be written even so."""
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                producer = await self._connected()
                key = record.response_id.encode()
                await producer.send_and_wait(self._topic, encode_control(record), key=key)
        except CLIENT_ERRORS as error:
            await self.close()
            raise KafkaUnavailable(
                f"the record was not acknowledged on topic {self._topic}: {type(error).__name__}"
            ) from error

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                producer = self._client(
                    **self._source().arguments(), acks="all", enable_idempotence=True, request_timeout_ms=5000
                )
                try:
                    await producer.start()
                    # Known before the first record is sent, which would wait for it.
                    await producer.partitions_for(self._topic)
                except BaseException:
                    await stop_producer(producer)
                    raise
                self._producer = producer
            return self._producer

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop_producer(producer)


def report_left_out(partition: TopicPartition, offset: int) -> None:
    """Logs a batch of `controls` that takes too much memory, or can't be decompressed."""
    log.error("control_records_unreadable", topic=partition.topic, partition=partition.partition, offset=offset)
