"""Readers of the event streams of a gateway, over HTTP. They keep the offset rule, as any reader of the contract does."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from processor.reader.reader import Message, Reader, ReaderLimits


@dataclass
class Event:
    name: str
    id: str | None
    data: Any


def read_events(written: bytes) -> list[Event]:
    """Events as an EventSource reads them: without comments and blocks that hold no data."""
    events: list[Event] = []
    for block in written.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "data" in fields:
            events.append(Event(fields.get("event", "message"), fields.get("id"), _data(fields["data"])))
    return events


def _data(text: str) -> Any:
    return text if text == "[DONE]" else json.loads(text)


class EventReader:
    """Keeps the offset rule, as any reader of the contract does."""

    def __init__(self) -> None:
        self.reader = Reader(limits=ReaderLimits(finished=1_000, open=1_000))
        self.last_id: str | None = None
        self.names: list[str] = []

    def take(self, events: Iterable[Event]) -> None:
        for event in events:
            self.names.append(event.name)
            self.last_id = event.id if event.id is not None else self.last_id
            if event.name == "snapshot":
                self.reader.hydrate(event.data["data"])
            elif event.name in ("start", "token", "part", "gap", "stop"):
                fields = event.data
                self.reader.feed(
                    Message(
                        name=fields["name"],
                        data=fields["data"],
                        headers=fields["headers"],
                        client_id="tokenstream",
                        id=fields["id"],
                    )
                )

    def text(self, response_id: str = "r1") -> str:
        response = self.reader.responses.get(response_id)
        return "" if response is None else response.text


def hashes(texts: Mapping[str, str]) -> dict[str, str]:
    return {part: hashlib.sha256(text.encode()).hexdigest() for part, text in texts.items()}


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class StreamReader:
    """Reads streams as an `EventSource` does: after a lost connection it comes back with the last id."""

    path: str
    ports: list[int]
    params: tuple[tuple[str, str], ...] = ()
    pause: float = 0.0
    """Seconds it waits after each piece that it reads: a slow reader."""
    hold: asyncio.Event = field(default_factory=_set)
    """While it is not set, the reader reads no data."""
    state: EventReader = field(default_factory=EventReader)
    connections: int = 0
    statuses: list[int] = field(default_factory=list)

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Until it is cancelled, or the server answers that nothing more follows (204)."""
        while True:
            port = self.ports[self.connections % len(self.ports)]
            self.connections += 1
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                if await self._read(session, port):
                    return
            await asyncio.sleep(0.05)

    async def _read(self, session: aiohttp.ClientSession, port: int) -> bool:
        headers = {} if self.state.last_id is None else {"Last-Event-ID": self.state.last_id}
        url = f"http://127.0.0.1:{port}{self.path}"
        async with session.get(url, headers=headers, params=self.params) as answer:
            self.statuses.append(answer.status)
            if answer.status == 200:
                async for event in stream_events(answer, self.pause):
                    await self.hold.wait()
                    self.state.take([event])
            return answer.status == 204

    def texts(self, response_ids: set[str]) -> dict[str, dict[str, str]]:
        found = {}
        for response_id in response_ids:
            response = self.state.reader.responses.get(response_id)
            if response is not None and response.finished:
                found[response_id] = hashes({name: part.text for name, part in response.parts.items()})
        return found


async def stream_events(answer: aiohttp.ClientResponse, pause: float = 0.0) -> AsyncIterator[Event]:
    waiting = b""
    async for piece in answer.content.iter_any():
        waiting += piece
        whole, separator, waiting = waiting.rpartition(b"\n\n")
        for event in read_events(whole + separator):
            yield event
        if pause:
            await asyncio.sleep(pause)
