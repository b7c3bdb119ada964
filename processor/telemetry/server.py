"""The HTTP server of a process: one port, for all its roles."""

import asyncio
import socket
import struct
from http import HTTPStatus
from typing import Any, Self, cast

import structlog
from aiohttp import web

from processor.errors import Fatal
from processor.telemetry.answers import ApiError
from processor.telemetry.log import where

STOP_SECONDS = 5.0
LINGER_SECONDS = 30.0
"""How long a connection that is being closed may take to send what is left."""
SEND_BUFFER_BYTES = 256 * 1024
"""Of the kernel for one connection. Left to itself it grows to megabytes for a client that does not read."""

log = structlog.stdlib.get_logger("tokenstream.http")


class PortTaken(Fatal):
    """The address cannot be bound. The sentence names it, and the settings that change it."""


class AcceptedConnection(web.RequestHandler):
    """One client's connection. aiohttp's own errors are answered in our format, and their words stay out of the log:
    they quote the request, credentials too.
    """

    __slots__ = ("_client",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asked with isinstance: uvloop's transports are not of asyncio's classes.
        self._client = cast("asyncio.WriteTransport", transport)
        connected = transport.get_extra_info("socket")
        if connected is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        super().connection_made(transport)

    async def start(self) -> None:
        """Returns when the connection is being closed. What a client does not take then is dropped after a while."""
        client, loop = self._client, asyncio.get_running_loop()
        try:
            await super().start()
        finally:
            if client.get_write_buffer_size():
                loop.call_later(LINGER_SECONDS, abort, client)

    async def shutdown(self, timeout: float | None = STOP_SECONDS) -> None:  # noqa: ASYNC109 - aiohttp's signature
        """Gives a running request `timeout` seconds. Then the connection is reset, which cancels the request."""
        late = asyncio.get_running_loop().call_later(timeout or 0.0, abort, self._client)
        try:
            await super().shutdown(timeout)
        finally:
            late.cancel()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Raises ConnectionError where the client is gone or has a part of an answer already."""
        del message
        if isinstance(exc, ConnectionError) or request.writer.output_size > 0:
            log.debug("client_gone", error=type(exc).__name__)
            raise ConnectionError("the connection was lost") from None
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("http_failed", error=type(exc).__name__, where=where(exc))
            answer = ApiError(status, "internal", "The server failed. Its log has the reason.").response()
        else:
            log.debug("request_malformed", error=type(exc).__name__)
            answer = ApiError(status, "bad_request", "The request is not valid HTTP.").response()
        answer.headers["Server"] = "tokenstream"
        answer.force_close()
        return answer


class _Server(web.Server):
    """aiohttp's, with our connections."""

    def __init__(self, server: web.Server, options: dict[str, Any]) -> None:
        super().__init__(
            server.request_handler,
            request_factory=server.request_factory,
            handler_cancellation=server.handler_cancellation,
            loop=asyncio.get_running_loop(),
        )
        self._options = options

    def __call__(self) -> web.RequestHandler:
        return AcceptedConnection(self, loop=asyncio.get_running_loop(), **self._options)


class _Runner(web.AppRunner):
    def __init__(self, app: web.Application, stop_seconds: float, **options: Any) -> None:
        # A client that goes away ends its request: nothing is read from the store for nobody.
        super().__init__(app, handler_cancellation=True, shutdown_timeout=stop_seconds)
        self._options = options

    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server(), self._options)


class HttpServer:
    """Serves `app` on `host` and `port` (0: any free one; `port` has it after the start). Also a context manager."""

    def __init__(
        self,
        app: web.Application,
        *,
        host: str,
        port: int,
        setting: str = "HTTP",
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._host = host
        self._setting = setting
        self._port = port
        self._stop_seconds = stop_seconds
        self._runner = _Runner(app, stop_seconds, access_log=None, keepalive_timeout=75)

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
                f"Set TOKENSTREAM_{self._setting}_PORT to a free port, or TOKENSTREAM_{self._setting}_HOST to an address of this machine."
            ) from error

    async def stop(self) -> None:
        """Takes no new requests, gives those running `stop_seconds` to end, and cancels the others."""
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.stop()


def abort(transport: asyncio.WriteTransport) -> None:
    """Resets the connection. What is unsent is dropped here and in the kernel, which would else go on offering it."""
    connected = transport.get_extra_info("socket")
    if connected is not None and connected.fileno() >= 0:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
