"""Writes dead letters outside a transaction: those of records that were read but cannot be stored."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from processor.clock import Clock
from processor.core.dead_letters import CUT_ROOM, headers_of, value_of
from processor.core.write_queue import DeadLetter
from processor.errors import KafkaUnavailable
from processor.kafka.connection import ConnectionSource
from processor.kafka.lazy import LazyClient

SEND_SECONDS = 30
WHOLE_BYTES = 1024 * 1024
"""A longer value is cut: the topic takes what the tokens topic takes, and a response may be larger than a token."""
LEAST_BYTES = 1024


@dataclass(frozen=True, slots=True)
class SourcedLetter:
    """A dead letter, and the topic and partition that its record was read from."""

    letter: DeadLetter
    topic: str
    partition: int


class DeadLetterWriter:
    """Connects with the first letter: most processes never write one."""

    def __init__(self, source: ConnectionSource, *, topic: str, clock: Clock) -> None:
        self._topic = topic
        self._clock = clock
        self._client: LazyClient[Any] = LazyClient(
            lambda: AIOKafkaProducer(
                **source().arguments(), acks="all", enable_idempotence=True, max_request_size=2 * WHOLE_BYTES
            )
        )

    async def write(self, letters: Sequence[SourcedLetter]) -> None:
        """Durable when it returns. Raises KafkaUnavailable; some may be written by then, and twice after a retry."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                producer = await self._client.started()
                for letter in letters:
                    await self._write_one(producer, letter)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise KafkaUnavailable(f"dead letters can't be written: {type(error).__name__}") from error

    async def _write_one(self, producer: Any, sourced: SourcedLetter) -> None:
        size = WHOLE_BYTES
        while True:
            value, headers = encoded(sourced, self._clock.wall_ms(), size)
            try:
                await producer.send_and_wait(self._topic, value, key=sourced.letter.raw.key, headers=headers)
            except MessageSizeTooLargeError:
                if size <= LEAST_BYTES:
                    raise
                size //= 4
            else:
                return

    async def close(self) -> None:
        await self._client.close()


def encoded(
    sourced: SourcedLetter, now_ms: int, whole: int = WHOLE_BYTES
) -> tuple[bytes | None, list[tuple[str, bytes | None]]]:
    """Value and headers. A value above `whole` bytes is cut to it; its hash and size are then in the headers."""
    letter = sourced.letter
    value, cut = value_of(letter, whole + CUT_ROOM + len(letter.raw.key or b""))
    headers = headers_of(letter, topic=sourced.topic, partition=sourced.partition, now_ms=now_ms)
    return value, [*headers, *cut]
