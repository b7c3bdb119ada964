"""Tombstones on the `responses` topic: after one, neither the archive nor compaction keeps the response."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from processor.errors import KafkaUnavailable, TombstoneUndetermined

WRITE_SECONDS = 8.0


class KafkaTombstones:
    """Connects with the first one. `client_options` are aiokafka's, asked anew for every connection."""

    def __init__(self, client_options: Callable[[], Mapping[str, Any]], *, responses_topic: str) -> None:
        self._client_options = client_options
        self._topic = responses_topic
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()

    async def connect(self) -> None:
        """Raises KafkaUnavailable."""
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                await self._connected()
        except (KafkaError, OSError, TimeoutError, AssertionError) as error:
            await self.close()
            raise KafkaUnavailable(f"the tombstone was not written: {type(error).__name__}") from error

    async def write(self, response_id: str, partition: int) -> None:
        """Where the topic has no such partition any more, the key decides: no record of the response is on the log then.

        Raises KafkaUnavailable; TombstoneUndetermined when the tombstone was sent and its acknowledgement did not come.
        """
        sent = False
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                producer = await self._connected()
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

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                producer = AIOKafkaProducer(**self._client_options(), acks="all", enable_idempotence=True)
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer

    async def close(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                async with asyncio.timeout(5):
                    await producer.stop()
            except (KafkaError, TimeoutError):
                pass
