"""A subscriber of a gateway: keeps what arrives and when, and reads it afterwards, as `subscribe` does of the realtime server."""

import asyncio
import time
from collections.abc import Iterator, Sequence

import aiohttp
import orjson

from devtools.bench.subscribe import CONNECT_SECONDS, SubscriberFailed
from processor.reader.frames import Message

MAX_CHANNELS = 100
"""Of one stream."""
READY = b"event: ready\n"
PUBLISHER = "tokenstream"


class StreamSubscriber:
    """One stream of events. `kept` grows while `run` runs: (moment, bytes as they came)."""

    def __init__(self, gateway: str, channels: Sequence[str]) -> None:
        self._url = f"http://{gateway}/v1/events"
        self._params = [("limit", "0"), *(("channel", channel) for channel in channels)]
        self.kept: list[tuple[float, bytes]] = []
        self.attached = asyncio.Event()

    async def run(self, http: aiohttp.ClientSession) -> None:
        """Raises SubscriberFailed; else runs until cancelled."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        async with http.get(self._url, params=self._params, timeout=timeout) as answer:
            if answer.status != 200:
                raise SubscriberFailed(f"The gateway refused: {answer.status} {await answer.text()}")
            tail = b""
            keep, now = self.kept.append, time.monotonic
            async for piece in answer.content.iter_any():
                keep((now(), piece))
                if not self.attached.is_set():
                    tail = tail[-len(READY) :] + piece
                    if READY in tail:
                        self.attached.set()
        raise SubscriberFailed("The gateway ended the subscriber's stream.")

    def messages(self) -> Iterator[tuple[float, Message]]:
        """What was received, each with the moment of its last byte. Raises SubscriberFailed where the gateway skipped frames."""
        waiting = b""
        for moment, piece in self.kept:
            *whole, waiting = (waiting + piece).split(b"\n\n")
            for event in whole:
                message = _message_of(event)
                if message is not None:
                    yield moment, message


def _message_of(event: bytes) -> Message | None:
    """None for what is no frame."""
    fields = dict(line.split(b": ", 1) for line in event.split(b"\n") if b": " in line and not line.startswith(b":"))
    name = fields.get(b"event", b"").decode()
    if name == "reset":
        raise SubscriberFailed("The gateway was faster than the subscriber, and skipped frames for it.")
    if b"data" not in fields or name in ("ready", "snapshot", "bye"):
        return None
    line = orjson.loads(fields[b"data"])
    return Message(name=name, data=line["data"], headers=line["headers"], client_id=PUBLISHER, id=line["id"])
