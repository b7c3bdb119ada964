"""A TCP proxy in front of a broker that can hold back only what a client sends to its group's coordinator."""

import asyncio
import struct
from typing import Self

from devtools.free_ports import HOST, free_port
from devtools.kafka import LocalKafka

GROUP_REQUESTS = {10: "FindCoordinator", 11: "JoinGroup", 12: "Heartbeat", 13: "LeaveGroup", 14: "SyncGroup"}


def kafka_behind(proxy: "GroupProxy") -> LocalKafka:
    """Returns a broker, not yet started, that advertises the proxy to clients that connect through it."""
    port = free_port()
    advertised = f"PLAINTEXT://{HOST}:{port},CUT://{HOST}:{proxy.port}"
    kafka = LocalKafka(
        port=port, extra_listeners={"CUT": "PLAINTEXT"}, extra_properties={"advertised.listeners": advertised}
    )
    host, _, cut = kafka.listeners["CUT"].partition(":")
    proxy.target = (host, int(cut))
    return kafka


class GroupProxy:
    """Forwards byte for byte; while `cut`, requests of the group protocol are swallowed and so never answered."""

    def __init__(self) -> None:
        self.cut = False
        self.swallowed = 0
        self.target: tuple[str, int] = ("127.0.0.1", 0)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(*self.target)
            self._writers |= {writer, upstream_writer}
            async with asyncio.TaskGroup() as both:
                both.create_task(self._requests(reader, upstream_writer))
                both.create_task(self._answers(upstream_reader, writer))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _requests(self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readexactly(6)
            size, api = struct.unpack(">ih", head)
            rest = await reader.readexactly(size - 2)
            if self.cut and api in GROUP_REQUESTS:
                self.swallowed += 1
                continue
            upstream.write(head + rest)
            await upstream.drain()

    @staticmethod
    async def _answers(upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await upstream.read(65_536):
            writer.write(chunk)
            await writer.drain()
        raise ConnectionResetError
