"""Follows one channel as a reader does, with the same SDK: its messages as they arrive, and its history."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from ably import AblyRest
from ably.types.connectionstate import ConnectionState
from ably.types.message import Message as AblyMessage
from ably.util.exceptions import AblyException

from processor.ably.ably import AblyOptions
from processor.ably.client import Client
from processor.ably.pages import history_pages
from processor.ably.refusals import kind_of
from processor.errors import Fatal, RefusalKind, Retryable, SettingsError
from processor.reader.frames import Message

ATTACH_SECONDS = 10.0
HISTORY_SECONDS = 10.0
HISTORY_PAGE = 1_000
WAITING_MESSAGES = 20_000
REFUSED = frozenset({RefusalKind.CREDENTIALS, RefusalKind.CHANNEL, RefusalKind.UNEXPLAINED})
"""Every other error passes, such as the SDK's own where the service does not attach a channel in time."""


class SubscriptionUnavailable(Retryable):
    """The service did not let us attach in time, or its history can't be read now."""


class SubscriptionRefused(Fatal):
    """The service refuses the key or the channel."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Messages may have been missed: what is missing is in the channel's history."""


class Subscription:
    """`async with Subscription(options, channel)`: attached within. `next()` returns the messages, in order."""

    def __init__(self, options: AblyOptions, channel: str) -> None:
        self._options = options
        self._channel = channel
        self._waiting: asyncio.Queue[Message | Interrupted | SubscriptionRefused] = asyncio.Queue(WAITING_MESSAGES + 1)
        self._client: Client | None = None
        self._failed = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Raises SubscriptionRefused, SubscriptionUnavailable."""
        try:
            await self._attach()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self._close()

    async def next(self, within: float) -> Message | Interrupted | None:
        """Returns the next message; None if none arrived within `within` seconds. Raises SubscriptionRefused."""
        try:
            async with asyncio.timeout(within):
                item = await self._waiting.get()
        except TimeoutError:
            return None
        if isinstance(item, SubscriptionRefused):
            raise item
        return item

    async def history(self) -> list[Message]:
        """All messages the channel still has, oldest first. Raises SubscriptionUnavailable."""
        try:
            async with asyncio.timeout(HISTORY_SECONDS), AblyRest(**self._options.rest()) as rest:
                found = [message async for message in _pages(rest, self._channel)]
        except Exception as error:  # of the SDK, of what it sends requests with, or of reading the answer
            raise SubscriptionUnavailable(f"The history of {self._channel} can't be read: {_told(error)}.") from error
        return found[::-1]

    async def _attach(self) -> None:
        try:
            client = self._client = Client(self._options.realtime(), asyncio.get_running_loop())
            client.connect(self._on_connection, _ignore)
            channel = client.sdk.channels.get(self._channel)
            channel.on("update", lambda _change: self._put(Interrupted()))
            channel.on("attached", lambda change: None if change.resumed else self._put(Interrupted()))
            async with asyncio.timeout(ATTACH_SECONDS):
                await self._unless_failed(channel.subscribe(lambda message: self._put(received(message))))
        except AblyException as error:
            refused = kind_of(error.code, error.status_code) in REFUSED
            kind = SubscriptionRefused if refused else SubscriptionUnavailable
            raise kind(f"Channel {self._channel} can't be followed: {_told(error)}.") from error
        except TimeoutError as error:
            reason = self._client.sdk.connection.error_reason if self._client else None
            why = _told(reason) if reason else f"no answer within {ATTACH_SECONDS:g} s"
            raise SubscriptionUnavailable(f"Channel {self._channel} can't be followed: {why}.") from error
        except ValueError as error:
            raise SubscriptionRefused(f"TOKENSTREAM_ABLY_KEY: the service's library refuses it: {error}") from error
        except (Fatal, SettingsError):
            raise
        except Exception as error:
            raise SubscriptionUnavailable(f"Channel {self._channel} can't be followed: {_told(error)}.") from error

    async def _unless_failed(self, attaching: Coroutine[Any, Any, None]) -> None:
        """Raises SubscriptionRefused if the connection failed permanently. The SDK would wait for the channel."""
        attached, failed = asyncio.ensure_future(attaching), asyncio.ensure_future(self._failed.wait())
        try:
            await asyncio.wait({attached, failed}, return_when=asyncio.FIRST_COMPLETED)
            if not attached.done():
                reason = self._client.sdk.connection.error_reason if self._client else None
                raise SubscriptionRefused(f"Channel {self._channel} can't be followed: {_told(reason)}.")
            await attached
        finally:
            attached.cancel()
            failed.cancel()

    def _on_connection(self, change: Any) -> None:
        if change.current == ConnectionState.FAILED:
            self._failed.set()
            self._put(SubscriptionRefused(f"The connection to the service failed: {_told(change.reason)}."))

    def _put(self, item: Message | Interrupted | SubscriptionRefused) -> None:
        """Queues a message. If the reader is too slow, drops it and notifies the reader, which finds it in the history."""
        if self._waiting.qsize() < WAITING_MESSAGES:
            self._waiting.put_nowait(item)
        elif not self._waiting.full():
            self._waiting.put_nowait(Interrupted())

    async def _close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.discard()


async def _pages(rest: AblyRest, channel: str) -> AsyncIterator[Message]:
    async for page in history_pages(rest, channel, HISTORY_PAGE):
        for item in AblyMessage.from_encoded_array(page):
            yield received(item)


def received(message: Any) -> Message:
    """A message of the SDK, of a subscription or a history page."""
    extras = message.extras if isinstance(message.extras, dict) else {}
    headers = extras.get("headers") or {}
    return Message(
        name=str(message.name or ""),
        data=message.data,
        headers={str(name): value for name, value in headers.items()},
        client_id=message.client_id,
        id=message.id,
    )


def _ignore(_reason: object) -> None:
    """The SDK connects again by itself: what was missed is in the channel's history."""


def _told(error: BaseException | None) -> str:
    if isinstance(error, AblyException):
        return f"{error.message} ({error.code})"
    return "it gives no reason" if error is None else str(error) or type(error).__name__
