"""Tombstones on the `responses` topic: after one, neither the archive nor compaction keeps the response."""

import asyncio

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from processor.errors import KafkaUnavailable, TombstoneUndetermined
from processor.kafka.connection import ConnectionSource
from processor.kafka.lazy import LazyClient

WRITE_SECONDS = 8.0


class KafkaTombstones:
    """Connects with the first tombstone. `source` is called for each connection."""

    def __init__(self, source: ConnectionSource, *, responses_topic: str) -> None:
        self._client = LazyClient(lambda: AIOKafkaProducer(**source().arguments(), acks="all", enable_idempotence=True))
        self._topic = responses_topic

    async def connect(self) -> None:
        """Raises KafkaUnavailable."""
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._client.started()
        except (KafkaError, OSError, TimeoutError, AssertionError) as error:
            await self.close()
            raise KafkaUnavailable(f"the tombstone was not written: {type(error).__name__}") from error

    async def write(self, response_id: str, partition: int) -> None:
        """Where the topic has no such partition any more, the key decides: no record of the response is on the log
        then.

        Raises KafkaUnavailable; TombstoneUndetermined when the tombstone was sent and its acknowledgement did not come.
        """
        sent = False
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                producer = await self._client.started()
                there = partition in await producer.partitions_for(self._topic)
                sent = True
                await producer.send_and_wait(
                    self._topic, None, key=response_id.encode(), partition=partition if there else None
                )
        except (KafkaError, OSError, TimeoutError, AssertionError) as error:
            await self.close()
            why = type(error).__name__
            if sent and isinstance(error, TimeoutError | KafkaTimeoutError):
                raise TombstoneUndetermined(
                    f"the tombstone was not acknowledged ({why}); it may be written, and the archive deletes then"
                ) from error
            raise KafkaUnavailable(f"the tombstone was not written: {why}") from error

    async def close(self) -> None:
        await self._client.close()
