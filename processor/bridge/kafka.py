"""The bridge's connection to Kafka: one producer for all streams, connected when Kafka is reachable, replaced when
its credentials change.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final, Self

import structlog

from processor.bridge.refusals import busy
from processor.core.backoff import Backoff
from processor.errors import SettingsError
from processor.telemetry.retry import Retry
from topics.producer import DeliveryError, TokenProducer

CHECK_SECONDS: Final = 3.0
_LOOK_SECONDS: Final = 5.0
_BACKOFF: Final = Backoff(first=0.2, cap=5.0)
_READINESS_CHANNEL: Final = "readiness"

log = structlog.stdlib.get_logger("tokenstream.bridge")


class _Connection:
    """A producer that is connected. It is closed once it is replaced and no stream uses it."""

    def __init__(self, producer: TokenProducer) -> None:
        self.producer = producer
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @contextlib.contextmanager
    def used(self) -> Iterator[TokenProducer]:
        self._users += 1
        self._unused.clear()
        try:
            yield self.producer
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def close(self) -> None:
        """Never raises, but by cancellation."""
        await self._unused.wait()
        try:
            await self.producer.__aexit__(None, None, None)
        except DeliveryError as error:
            log.warning("bridge_kafka_unacknowledged", detail=str(error))


class KafkaLink:
    """`make` builds a producer. `credentials` is another value once they changed. Open within its block.

    `chance` gives numbers in [0, 1); `retried` is called for each time that connecting is tried once more.
    """

    def __init__(
        self,
        make: Callable[[], TokenProducer],
        credentials: Callable[[], object],
        chance: Callable[[], float],
        retried: Callable[[], None],
    ) -> None:
        self._make = make
        self._credentials = credentials
        self._retry = Retry(_BACKOFF, chance, retried)
        self._connection: _Connection | None = None
        self._trouble = "not connected yet"
        self._closing: set[asyncio.Task[None]] = set()
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._keeping = asyncio.create_task(self._keep_connected())
        return self

    async def __aexit__(self, *_exception: object) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})
        if self._connection is not None:
            self._retire(self._connection)
        if self._closing:
            await asyncio.wait(self._closing)

    def standstill(self) -> str | None:
        """Why only a restart helps."""
        if self._keeping is not None and self._keeping.done():
            return "its task ended, though nothing asked it to"
        return None

    async def trouble(self) -> str | None:
        """Why no record can be written; for readiness."""
        if self._connection is None:
            return self._trouble
        try:
            await self._connection.producer.check(_READINESS_CHANNEL, CHECK_SECONDS - 0.5)
        except DeliveryError as error:
            return str(error)
        return None

    def controls_trouble(self) -> str | None:
        """Why no cancel can reach the streams."""
        return None if self._connection is None else self._connection.producer.controls_trouble

    @contextlib.asynccontextmanager
    async def checked(self, channel: str) -> AsyncIterator[TokenProducer]:
        """A producer whose broker for this channel has just answered, kept until the block is left. Raises Refusal."""
        connection = self._connection
        if connection is None:
            log.warning("bridge_kafka_unavailable", detail=self._trouble)
            raise _unavailable()
        with connection.used() as producer:
            try:
                await producer.check(channel, CHECK_SECONDS)
            except DeliveryError as error:
                log.warning("bridge_kafka_unavailable", detail=str(error))
                raise _unavailable() from error
            yield producer

    async def _keep_connected(self) -> None:
        while True:
            credentials = self._credentials()
            connection = await self._connect()
            former, self._connection = self._connection, connection
            if former is not None:
                self._retire(former)
                log.info("bridge_kafka_reconnected", why="credentials changed")
            while self._credentials() == credentials:
                await asyncio.sleep(_LOOK_SECONDS)

    async def _connect(self) -> _Connection:
        return await self._retry.until_done(self._try_connect, (DeliveryError, SettingsError), self._failed)

    async def _try_connect(self) -> _Connection:
        producer = self._make()
        await producer.__aenter__()
        return _Connection(producer)

    def _failed(self, error: Exception, _attempt: int) -> None:
        self._trouble = str(error)
        log.warning("bridge_kafka_unavailable", detail=str(error))

    def _retire(self, connection: _Connection) -> None:
        closing = asyncio.create_task(connection.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


def _unavailable() -> Exception:
    return busy("kafka_unavailable", "Kafka does not take records, so the model was not asked. Try again later.", 2)
