"""A gateway on a port, without Kafka."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from random import Random
from typing import Self

import aiohttp

from processor.api.access import Access
from processor.api.app import make_app
from processor.clock import Clock
from processor.gateway.http import EventsV1, GatewayParts
from processor.gateway.hub import Hub, HubLimits
from processor.telemetry.health import Health
from processor.telemetry.metrics import Metrics
from processor.telemetry.server import HttpServer
from support.gateway_log import logged
from support.gateway_readers import MemoryRecords

MIB = 1024 * 1024


@dataclass
class Served:
    """What a test sets of it, and looks at."""

    access: Access = field(default_factory=lambda: Access(open=True))
    max_clients: int = 100
    cors_origins: tuple[str, ...] = ("https://app.example",)
    port: int = 0
    """Known once it is served."""
    caught_up: bool = True
    alone: bool = False
    store: MemoryRecords = field(default_factory=MemoryRecords)
    metrics: Metrics = field(default_factory=Metrics)
    now: float = 100.0
    """Monotonic seconds, advanced by hand."""

    def __post_init__(self) -> None:
        self.hub = Hub(HubLimits(MIB, MIB), lambda _ts, readers: self.metrics.gateway_events.inc(readers))
        self.hub.buffer.begin(0, 0)
        self.events = EventsV1(
            GatewayParts(
                hub=self.hub,
                store=self.store,
                access=self.access,
                metrics=self.metrics,
                clock=Clock(monotonic=lambda: self.now),
                random=Random(1),
                partition_of=lambda _: 0,
                caught_up=lambda: self.caught_up,
                cors_origins=self.cors_origins,
                max_clients=self.max_clients,
                alone=self.alone,
            )
        )

    def publish(self, *values: bytes) -> None:
        self.hub.take_frames(logged(list(values), first=self.hub.buffer.ends[0] + 1), 5_000)

    def clients(self) -> int:
        return int(self.metrics.registry.get_sample_value("tokenstream_gateway_clients") or 0)


@contextlib.asynccontextmanager
async def serving(served: Served) -> AsyncIterator[aiohttp.ClientSession]:
    app = make_app(served.metrics, Health(served.metrics, lambda: ()), None, streams=served.events.serve)
    server = HttpServer(app, host="127.0.0.1", port=0)
    sweeping = asyncio.create_task(served.events.keep_alive())
    async with server, aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        served.port = server.port
        try:
            yield session
        finally:
            await served.events.drain(1.0)
            sweeping.cancel()
            await asyncio.wait({sweeping})


class CuttingProxy:
    """Forwards connections to a port, and resets all of them on request."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, upstream}
        try:
            await asyncio.gather(_copy(reader, upstream), _copy(upstream_reader, writer))
        finally:
            self._writers -= {writer, upstream}
            upstream.transport.abort()
            writer.transport.abort()
            self._tasks.discard(task)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(65_536):
            sink.write(chunk)
            await sink.drain()
    sink.transport.abort()
