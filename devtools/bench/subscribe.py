"""A subscriber that only stores messages with their time of arrival. They are checked after the run.

It implements the realtime protocol itself, to use as little of the machine as a subscriber can.
"""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import aiohttp
import msgspec

from processor.errors import Fatal
from processor.reader.frames import Message

CONNECT_SECONDS = 20.0
CONNECTED, ERROR, ATTACH, ATTACHED, MESSAGE = 4, 9, 10, 11, 15
SUBSCRIBE = 1 << 18
MAX_MESSAGE = 16 * 1024 * 1024


class SubscriberFailed(Fatal):
    """The realtime server did not let the subscriber attach, or dropped it."""


class _Inner(msgspec.Struct, rename="camel"):
    name: str | None = None
    data: Any = None
    encoding: str | None = None
    client_id: str | None = None
    id: str | None = None
    extras: Any = None


class _Outer(msgspec.Struct, rename="camel"):
    action: int
    channel: str | None = None
    flags: int | None = None
    error: Any = None
    messages: list[_Inner] | None = None


_decode = msgspec.msgpack.Decoder(_Outer, strict=False).decode
_encode = msgspec.msgpack.encode


class Subscriber:
    """One connection, attached to some channels. `kept` grows while `run` runs: (moment, frame as it came)."""

    def __init__(self, endpoint: str, key: str, channels: Sequence[str]) -> None:
        self._url = f"ws://{endpoint}/?key={key}&format=msgpack&v=3&echo=true"
        self._channels = channels
        self.kept: list[tuple[float, bytes]] = []
        self.attached = asyncio.Event()

    async def run(self, http: aiohttp.ClientSession) -> None:
        """Raises SubscriberFailed; else runs until cancelled."""
        async with http.ws_connect(self._url, max_msg_size=MAX_MESSAGE, autoping=True) as socket:
            await self._attach(socket)
            self.attached.set()
            keep, now = self.kept.append, time.monotonic
            async for received in socket:
                if received.type is aiohttp.WSMsgType.BINARY:
                    keep((now(), received.data))
        raise SubscriberFailed("The realtime server ended the subscriber's connection.")

    async def _attach(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        missing = set(self._channels)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._next(socket, CONNECTED)
                for channel in self._channels:
                    await socket.send_bytes(_encode({"action": ATTACH, "channel": channel, "flags": SUBSCRIBE}))
                while missing:
                    missing.discard((await self._next(socket, ATTACHED)).channel or "")
        except TimeoutError:
            raise SubscriberFailed(f"{len(missing)} channels were not attached in {CONNECT_SECONDS:g} s.") from None

    def messages(self) -> Iterator[tuple[float, Message]]:
        """What was received, each with the moment it came. Raises SubscriberFailed where the server dropped something."""
        for moment, raw in self.kept:
            for message in messages_of(raw):
                yield moment, message

    @staticmethod
    async def _next(socket: aiohttp.ClientWebSocketResponse, action: int) -> _Outer:
        while True:
            received = await socket.receive()
            if received.type is not aiohttp.WSMsgType.BINARY:
                raise SubscriberFailed(f"The realtime server ended the connection ({received.type.name}).")
            message = _decode(received.data)
            if message.action == ERROR:
                raise SubscriberFailed(f"The realtime server refused: {message.error}")
            if message.action == action:
                return message


def messages_of(raw: bytes) -> Iterator[Message]:
    """Returns the messages of a stored frame; none if it has no message. Raises SubscriberFailed if it reports a loss."""
    outer = _decode(raw)
    if outer.action == ATTACHED:
        raise SubscriberFailed(f"The realtime server dropped messages for the subscriber: {outer.error}")
    for inner in outer.messages or () if outer.action == MESSAGE else ():
        headers = inner.extras.get("headers") if isinstance(inner.extras, dict) else None
        yield Message(
            name=inner.name or "",
            data=json.loads(inner.data) if inner.encoding == "json" else inner.data,
            headers=headers if isinstance(headers, dict) else {},
            client_id=inner.client_id,
            id=inner.id,
        )
