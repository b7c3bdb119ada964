"""One client of the SDK for one connection: how it differs from the SDK's, and how it is discarded.

The SDK (3.1.4) replaces a lost transport while the old one may still be open. After pauses of the process two
transports resume the same connection in turn, hundreds of times per second. So a client that was connected never
connects again: its user discards it, with every transport that it created.
"""

import asyncio
import contextlib
import functools
import ssl
from collections.abc import Callable
from typing import Any

import httpx  # the SDK's
from ably import AblyRealtime, AblyRest
from ably.util.exceptions import AblyException

from processor.ably.exchange import Answer, Exchange, keep_one_timer

CLOSE_DEADLINE = 2.0


class Client:
    """An `AblyRealtime` that connects on request. `disconnected` is called when the service sends it DISCONNECTED."""

    def __init__(self, options: dict[str, Any], loop: asyncio.AbstractEventLoop) -> None:
        """May be called in a thread: the SDK reads all trusted certificates, 15 ms of processor."""
        self.sdk = AblyRealtime(**options, loop=loop, auto_connect=False)
        http: Any = self.sdk.http
        http._Http__client = httpx.AsyncClient(http2=True, verify=_trusted())  # noqa: SLF001
        self.manager: Any = self.sdk.connection.connection_manager
        self._transports: list[Any] = []
        self._exchange: Exchange | None = None

    def connect(self, changed: Callable[[Any], None], disconnected: Callable[[Any], None]) -> None:
        """Connects. Calls `changed` with every change of the SDK's state."""
        manager, ask_sdk = self.manager, self.manager.on_disconnected

        async def on_disconnected(reason: Any) -> None:
            if self._exchange is not None:
                disconnected(reason)
            else:
                await ask_sdk(reason)  # it tries other hosts

        manager.on_disconnected = on_disconnected
        manager.check_connection = lambda: (
            True
        )  # the SDK asks a page of the internet, and stops the event loop meanwhile
        manager.on("transport.pending", self._made)
        self.sdk.connection.on(changed)
        self.sdk.connect()

    def _made(self, transport: Any) -> None:
        self._transports.append(transport)
        keep_one_timer(transport)

    def was_connected(self) -> None:
        """Makes the next DISCONNECTED the end of this client. Messages can be sent from now on."""
        if self._exchange is None:
            self._exchange = Exchange(self.manager, self.manager.transport)

    def send(self, message: dict[str, Any]) -> Answer:
        """Sends a message at once, or raises. Returns its answer: see `Exchange.send`."""
        if self._exchange is None:
            raise AblyException("the client is not connected", 400, 80003)
        return self._exchange.send(message)

    async def discard(self) -> None:
        """Closes every transport and stops every timer, within about `CLOSE_DEADLINE` seconds. Never raises."""
        manager = self.manager
        for bring_back in ("request_state", "notify_state", "start_connect", "start_retry_timer"):
            setattr(manager, bring_back, _ignore)
        manager.cancel_suspend_timer()
        manager.cancel_transition_timer()
        manager.cancel_retry_timer()
        if manager.connect_base_task is not None:
            manager.connect_base_task.cancel()
        if self._exchange is not None:
            self._exchange.fail(AblyException("the connection was discarded", 400, 80003))
        closing = [_close(each) for each in self._transports]
        try:
            async with asyncio.timeout(CLOSE_DEADLINE):
                await asyncio.gather(*closing, AblyRest.close(self.sdk), return_exceptions=True)
        except Exception:  # noqa: BLE001, S110 - it is discarded whatever it raises
            pass
        finally:
            for each in self._transports:
                _cut(each)


@functools.cache
def _trusted() -> ssl.SSLContext:
    """Returns the trusted certificates, once for all clients: the SDK keeps them for each, which takes 850 KB."""
    return httpx.create_ssl_context()


async def _close(transport: Any) -> None:
    """Sends CLOSE where that is possible, so that the service drops the connection's state at once."""
    with contextlib.suppress(Exception):
        await transport.close()
    await transport.dispose()


def _cut(transport: Any) -> None:
    socket: Any = getattr(transport.websocket, "transport", None)
    if socket is not None:
        with contextlib.suppress(Exception):
            socket.abort()


def _ignore(*_arguments: Any, **_named: Any) -> None:
    """Replaces the methods by which a discarded client would connect again."""
