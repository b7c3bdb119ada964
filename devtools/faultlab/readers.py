"""Readers during a run: a real subscription for each channel, by the rules of any client.

Live messages are passed on as they arrive. If continuity was lost or something is missing, the channel's history is
read and the API asked.
A subscription that ends is made again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote

import aiohttp

from devtools.emulator.server import DEFAULT_KEY
from processor.ably.ably import AblyOptions
from processor.ably.subscription import (
    Interrupted,
    Subscription,
    SubscriptionRefused,
    SubscriptionUnavailable,
)
from processor.reader.reader import Message, Reader, ReaderLimits

TICK = 0.5
PAUSE = 1.0
HTTP_DEADLINE = 5.0


class ChannelReader:
    """Reads one channel until it is stopped; `reader` is what it shows."""

    def __init__(self, channel: str, endpoint: str, api: str, http: aiohttp.ClientSession) -> None:
        self.channel = channel
        self.reader = Reader("tokenstream", ReaderLimits(finished=1_000_000, open=1_000_000))
        self.interruptions = 0
        self._options = AblyOptions(key=lambda: DEFAULT_KEY, client_id="reader", endpoint=endpoint, tls=False)
        self._api = api
        self._http = http

    async def follow(self) -> None:
        while True:
            try:
                async with Subscription(self._options, self.channel) as live:
                    await self._catch_up(live)
                    while True:
                        await self._take(live)
            except (SubscriptionRefused, SubscriptionUnavailable):
                self.interruptions += 1
                await asyncio.sleep(PAUSE)

    async def load(self, response_id: str) -> None:
        """Ask the API for one response, as a page that is opened later does."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with self._http.get(f"{self._api}/v1/responses/{quote(response_id, safe='')}") as answer:
                if answer.status == 200:
                    self.reader.hydrate(await answer.json())

    async def _take(self, live: Subscription) -> None:
        item = await live.next(TICK)
        if isinstance(item, Message):
            self.reader.feed(item)
        if isinstance(item, Interrupted):
            self.interruptions += 1
        if isinstance(item, Interrupted) or (item is None and self.reader.needs()):
            await self._catch_up(live)

    async def _catch_up(self, live: Subscription) -> None:
        with contextlib.suppress(SubscriptionUnavailable):
            self.reader.replay(await live.history())
        await self._hydrate()

    async def _hydrate(self) -> None:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            url = f"{self._api}/v1/channels/{quote(self.channel, safe='')}/hydrate?limit=50"
            async with self._http.get(url) as answer:
                if answer.status == 200:
                    for record in (await answer.json())["items"]:
                        self.reader.hydrate(record)
        for response_id in self.reader.needs():
            await self.load(response_id)


@contextlib.asynccontextmanager
async def reading(channels: Sequence[str], endpoint: str, api: str) -> AsyncIterator[dict[str, ChannelReader]]:
    """A reader for each channel, by its name, until left."""
    timeout = aiohttp.ClientTimeout(total=HTTP_DEADLINE)
    async with aiohttp.ClientSession(timeout=timeout) as http, asyncio.TaskGroup() as group:
        readers = {channel: ChannelReader(channel, endpoint, api, http) for channel in channels}
        tasks = [group.create_task(reader.follow()) for reader in readers.values()]
        try:
            yield readers
        finally:
            for task in tasks:
                task.cancel()
