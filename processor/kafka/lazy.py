"""A client of the library that is started on first use, and created again after it was closed."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from processor.kafka.options import STOP_DEADLINE
from processor.kafka.stopping import stop_producer, stop_quietly

C = TypeVar("C")


class LazyClient(Generic[C]):
    """`new` makes a client that is not started; `prepare` is called with each one once it was. Used by one event loop."""

    def __init__(self, new: Callable[[], C], prepare: Callable[[C], None] | None = None) -> None:
        self._new = new
        self._prepare = prepare
        self._starting = asyncio.Lock()
        self._client: C | None = None

    async def started(self) -> C:
        """Returns the client, started. Raises what making and starting it raises, and leaves nothing open then."""
        async with self._starting:
            if self._client is None:
                client: Any = self._new()
                try:
                    await client.start()
                    if self._prepare is not None:
                        self._prepare(client)
                except BaseException:
                    await _stop(client)
                    raise
                self._client = client
            return self._client

    async def close(self) -> None:
        """Stops the client, if there is one, within `STOP_DEADLINE` seconds. Never raises."""
        client, self._client = self._client, None
        if client is not None:
            await _stop(client)


async def _stop(client: Any) -> None:
    if isinstance(client, AIOKafkaConsumer):
        await stop_quietly(client)
        return
    if isinstance(client, AIOKafkaProducer):
        await stop_producer(client)
        return
    with contextlib.suppress(Exception):
        async with asyncio.timeout(STOP_DEADLINE):
            await (getattr(client, "stop", None) or client.close)()
