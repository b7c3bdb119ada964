"""Records the archive can't store, on the `dead-letters` topic: unchanged, with headers that say why and where from."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from processor.archive.batch import RefusedArrival
from processor.clock import Clock
from processor.errors import KafkaUnavailable

SEND_SECONDS = 30
WHOLE_BYTES = 1024 * 1024
"""A longer value is cut: the topic takes what the tokens topic takes, and a response may be larger than a token."""
LEAST_BYTES = 1024
MAX_DETAIL_CHARACTERS = 500

ClientOptions = Callable[[], Mapping[str, Any]]


class DeadLetterWriter:
    """Connects with the first letter: most archives never write one."""

    def __init__(self, client_options: ClientOptions, *, topic: str, clock: Clock) -> None:
        self._client_options = client_options
        self._topic = topic
        self._clock = clock
        self._producer: AIOKafkaProducer | None = None

    async def write(self, letters: Sequence[RefusedArrival]) -> None:
        """Durable when it returns. Raises KafkaUnavailable; some may be written by then, and twice after a retry."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                producer = await self._connected()
                for letter in letters:
                    await self._write_one(producer, letter)
        except (KafkaError, OSError, TimeoutError) as error:
            await self.close()
            raise KafkaUnavailable(f"dead letters can't be written: {type(error).__name__}") from error

    async def _write_one(self, producer: AIOKafkaProducer, letter: RefusedArrival) -> None:
        size = WHOLE_BYTES
        while True:
            value, headers = dead_letter(letter, self._clock.wall_ms(), size)
            try:
                await producer.send_and_wait(self._topic, value, key=letter.arrival.key, headers=headers)
            except MessageSizeTooLargeError:
                if size <= LEAST_BYTES:
                    raise
                size //= 4
            else:
                return

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **self._client_options(),
                acks="all",
                enable_idempotence=True,
                max_request_size=2 * WHOLE_BYTES,
            )
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


def dead_letter(
    letter: RefusedArrival, now: int, whole: int = WHOLE_BYTES
) -> tuple[bytes | None, list[tuple[str, bytes]]]:
    """Value and headers. A value above `whole` bytes is cut to it; its hash and size are then in the headers."""
    arrival = letter.arrival
    headers = {
        "tokenstream-reason": str(letter.reason),
        "tokenstream-topic": arrival.topic,
        "tokenstream-partition": str(arrival.position.partition),
        "tokenstream-offset": str(arrival.position.offset),
        "tokenstream-time": str(now),
        "tokenstream-detail": letter.detail[:MAX_DETAIL_CHARACTERS],
    }
    value = arrival.value
    if value is not None and len(value) > whole:
        headers["tokenstream-sha256"] = hashlib.sha256(value).hexdigest()
        headers["tokenstream-size"] = str(len(value))
        value = value[:whole]
    return value, [(name, text.encode("utf-8", "replace")) for name, text in headers.items()]
