"""The lab of the transport `direct`: relays and gateways as processes of their own, and readers of their streams."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from devtools.deployment import create_topics, names_after
from devtools.emulator.server import LocalRealtime
from devtools.lab import Lab
from devtools.process import TokenstreamProcess
from support.gateway_readers import Event, EventReader, read_events
from support.waiting import eventually
from topics.specs import TopicNames


class DirectLab(Lab):
    """No setting of Ably is given."""

    def __init__(self, bootstrap: str, names: TopicNames, store: Path) -> None:
        super().__init__(bootstrap, names, LocalRealtime(), direct=True, STORE_URL=f"sqlite:///{store / 'store.db'}")

    def texts(self) -> dict[str, dict[str, str]]:
        return {produced.response_id: hashes(produced.texts) for produced in self.produced}


def hashes(texts: Mapping[str, str]) -> dict[str, str]:
    return {part: hashlib.sha256(text.encode()).hexdigest() for part, text in texts.items()}


@asynccontextmanager
async def direct_lab(bootstrap: str, prefix: str, store: Path, *, partitions: int = 4) -> AsyncIterator[DirectLab]:
    names = await create_topics(bootstrap, names_after(prefix, frames=True), partitions)
    lab = DirectLab(bootstrap, names, store)
    try:
        yield lab
    finally:
        await lab.close()


@dataclass
class StreamReader:
    """Reads streams as an `EventSource` does: after a lost connection it comes back with the last id."""

    path: str
    ports: list[int]
    params: tuple[tuple[str, str], ...] = ()
    pause: float = 0.0
    """Seconds it waits after each piece that it reads: a slow reader."""
    state: EventReader = field(default_factory=EventReader)
    connections: int = 0
    statuses: list[int] = field(default_factory=list)

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Until it is cancelled, or the server says that nothing more comes (204)."""
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


@asynccontextmanager
async def reading(*readers: StreamReader) -> AsyncIterator[None]:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        tasks = [asyncio.create_task(reader.run(session)) for reader in readers]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                if not task.cancelled():
                    task.result()


async def all_have(
    readers: list[StreamReader], expected: Mapping[str, Mapping[str, str]], deadline: float = 90.0
) -> None:
    """Wait until every reader has every text, by its SHA-256."""

    def look() -> bool:
        for reader in readers:
            found = reader.texts(set(expected))
            missing = {key for key in expected if found.get(key) != expected[key]}
            assert not missing, (
                f"{len(missing)} of {len(expected)} differ, e.g. {sorted(missing)[:3]}: {reader.statuses}"
            )
        return True

    await eventually(look, deadline=deadline, every=0.2)


async def restarted(process: TokenstreamProcess) -> None:
    """Killed without warning, and started again on the same port."""
    await process.kill()
    await process.start()
    await process.ready()
