"""The producer of frames: idempotent, acknowledged by all in-sync replicas, one record after the other in a partition."""

import asyncio

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from processor.errors import KafkaUnavailable, RecordTooLarge, WriteForbidden
from processor.kafka.connection import ConnectionSource
from processor.kafka.options import CLIENT_ERRORS, REQUEST_DEADLINE
from processor.kafka.stopping import stop_producer

FORBIDDEN = (TopicAuthorizationFailedError, ClusterAuthorizationFailedError)
REQUEST_SECONDS = 5.0
"""After which a record that is not acknowledged is given up: no frame is sent long after its lease was checked."""


class FramesWriter:
    """One producer. After KafkaUnavailable it has to be stopped, and can be started again."""

    def __init__(self, source: ConnectionSource, topic: str) -> None:
        self._source = source
        self._topic = topic
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Returns when the topic was described: a record can be written at once. Raises KafkaUnavailable, WriteForbidden."""
        producer = AIOKafkaProducer(
            **self._source().arguments(),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=128 * 1024,
            compression_type="lz4",
            request_timeout_ms=int(REQUEST_SECONDS * 1000),
            retry_backoff_ms=50,
        )
        try:
            async with asyncio.timeout(REQUEST_DEADLINE):
                await producer.start()
                await producer.partitions_for(self._topic)
        except BaseException as error:
            await stop_producer(producer)
            if isinstance(error, FORBIDDEN):
                raise WriteForbidden(self._topic) from error
            if isinstance(error, CLIENT_ERRORS):
                raise KafkaUnavailable(f"the producer of {self._topic} could not start: {error!r}") from error
            raise
        self._producer = producer

    async def write(self, key: str, value: bytes, written_ms: int) -> None:
        """Returns when the record is acknowledged.

        Raises RecordTooLarge; WriteForbidden; KafkaUnavailable when it is not known whether the record was written.
        """
        producer = self._producer
        if producer is None:
            raise KafkaUnavailable("the producer is not started")
        try:
            await producer.send_and_wait(self._topic, value, key=key.encode(), timestamp_ms=written_ms)
        except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
            raise RecordTooLarge(self._topic, len(value)) from error
        except FORBIDDEN as error:
            raise WriteForbidden(self._topic) from error
        except Exception as error:
            raise KafkaUnavailable(f"a frame was not acknowledged: {error!r}") from error

    async def stop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop_producer(producer)
