"""The HTTP server of a process: one port, for all its roles."""

import asyncio
from typing import Self

from aiohttp import web

from processor.errors import Fatal

STOP_SECONDS = 5.0


class PortTaken(Fatal):
    """The address can't be bound; the sentence says which, and which settings change it."""


class HttpServer:
    """Serves `app` on `host` and `port` (0: any free one, told by `port` once started). A context manager too."""

    def __init__(self, app: web.Application, *, host: str, port: int) -> None:
        self._host = host
        self._port = port
        # A client that goes away ends its request: nothing is read from the store for nobody.
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=STOP_SECONDS, keepalive_timeout=75
        )

    def __repr__(self) -> str:
        return f"HttpServer({self._host}:{self.port})"

    @property
    def port(self) -> int:
        addresses = self._runner.addresses
        return int(addresses[0][1]) if addresses else self._port

    async def start(self) -> None:
        """Raises PortTaken."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise PortTaken(
                f"HTTP can't listen on {self._host}:{self._port}: {error.strerror or error}. "
                "Set TOKENSTREAM_HTTP_PORT to a free port, or TOKENSTREAM_HTTP_HOST to an address of this machine."
            ) from error

    async def stop(self) -> None:
        """No new requests; those running have some seconds to end."""
        async with asyncio.timeout(2 * STOP_SECONDS):
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.stop()
