"""One client of the SDK for one connection: how it differs from the SDK's, and how it is discarded.

The SDK (3.1.4) replaces a lost transport while the old one may still be open. After pauses of the process two
transports resume the same connection in turn, hundreds of times per second. So a client that was connected never
connects again: its user discards it, with every transport that it created.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from ably import AblyRealtime, AblyRest
from ably.realtime.connectionmanager import PendingMessageQueue
from ably.util.exceptions import AblyException

CLOSE_DEADLINE = 2.0


class _AnsweredMessages(PendingMessageQueue):  # type: ignore[misc]  # the SDK is untyped
    """The messages that wait for an answer. Retrieves the error of one whose sender no longer waits for it."""

    def push(self, pending_message: Any) -> None:
        if pending_message.future is not None:
            pending_message.future.add_done_callback(_retrieve)
        super().push(pending_message)


class Client:
    """An `AblyRealtime` that connects on request. `disconnected` is called when the service sends it DISCONNECTED."""

    def __init__(self, options: dict[str, Any], loop: asyncio.AbstractEventLoop) -> None:
        """May be called in a thread: the SDK reads all trusted certificates, 15 ms of processor."""
        self.sdk = AblyRealtime(**options, loop=loop, auto_connect=False)
        self.manager: Any = self.sdk.connection.connection_manager
        self._transports: list[Any] = []
        self._connected = False

    def connect(self, changed: Callable[[Any], None], disconnected: Callable[[Any], None]) -> None:
        """Connects. Calls `changed` with every change of the SDK's state."""
        manager, ask_sdk = self.manager, self.manager.on_disconnected

        async def on_disconnected(reason: Any) -> None:
            if self._connected:
                disconnected(reason)
            else:
                await ask_sdk(reason)  # it tries other hosts

        manager.pending_message_queue = _AnsweredMessages()
        manager.on_disconnected = on_disconnected
        manager.check_connection = lambda: (
            True
        )  # the SDK asks a page of the internet, and stops the event loop meanwhile
        manager.on("transport.pending", self._made)
        self.sdk.connection.on(changed)
        self.sdk.connect()

    def _made(self, transport: Any) -> None:
        self._transports.append(transport)

    def was_connected(self) -> None:
        """Makes the next DISCONNECTED the end of this client."""
        self._connected = True

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
        self._fail_unanswered()
        closing = [_close(each) for each in self._transports]
        try:
            async with asyncio.timeout(CLOSE_DEADLINE):
                await asyncio.gather(*closing, AblyRest.close(self.sdk), return_exceptions=True)
        except Exception:  # noqa: BLE001, S110 - it is discarded whatever it raises
            pass
        finally:
            for each in self._transports:
                _cut(each)

    def _fail_unanswered(self) -> None:
        for waiting in (*self.manager.queued_messages, *self.manager.pending_message_queue.messages):
            if waiting.future is not None and not waiting.future.done():
                waiting.future.set_exception(AblyException("the connection was discarded", 400, 80003))
        self.manager.queued_messages.clear()
        self.manager.pending_message_queue.clear()


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


def _retrieve(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
