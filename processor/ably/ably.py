"""Publishes through Ably's Python SDK. (`subscription` follows a channel, `diagnosis` checks a key.)

The SDK (3.1.4) can lose, repeat, reorder or hang publishes when a connection fails during them. Therefore:

- Nothing is queued inside the SDK.
- Every message has our own id.
- An acknowledgement is accepted only if no connection event occurred between send and answer (`epoch`).
- Every publish has a deadline.
- A client that lost its connection, failed, timed out or raised anything but its own exception is discarded and
  replaced, after a backoff (`client` has the reason).

A message is passed to the SDK's connection as the SDK's channels would pass it. Channel objects are not used: one
takes 9 KB, and has no use for a publisher that attaches to no channel.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from ably import AblyRest
from ably.transport.websockettransport import ProtocolMessageAction
from ably.types.connectionstate import ConnectionState
from ably.util.exceptions import AblyException
from ably.util.helper import validate_message_size

from processor.ably.answers import UNREADABLE, number, refusal_of
from processor.ably.client import Client
from processor.ably.deadlines import Deadlines
from processor.ably.pages import history_pages
from processor.core.backoff import Backoff
from processor.core.channel_history import ChannelHistory, PastMessage
from processor.core.framer import Frame
from processor.core.limits import FRAME_OVERHEAD
from processor.core.pacing import Pace
from processor.errors import PublishRetry, RefusalKind, SettingsError
from processor.ports.realtime import LinkState
from processor.telemetry.retry import Retry

log = structlog.get_logger(__name__)

CONNECT_DEADLINE = 8.0
STEADY = 5.0
"""Seconds connected, after which a client that broke counts as one that had worked."""
MAX_MESSAGE_BYTES = 65_536
"""The service's limit for one message, with its id, name, headers and data."""
KEY_CHECK = 1.0
CLOSE_DEADLINE = 2.0
HISTORY_PAGE = 1_000
HISTORIES_AT_ONCE = 16
HISTORY_LINE = 48
"""Histories that wait for their turn. What asks beyond them is published again at once, which costs less than to wait and ask."""
HISTORY_QUEUE = 2.0
"""Seconds a history waits for its turn at most: without it, readers drop what is published again."""
HOPELESS = 3
"""Times in a row that the service did not answer, after which those that still wait for their turn fail with them."""
RETRY = Backoff(first=0.2, cap=3.0)
RETRY_REFUSED = Backoff(first=1.0, cap=10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AblyOptions:
    """`key` is called for every connection, so that a changed key file takes effect. Raises SettingsError."""

    key: Callable[[], str]
    client_id: str
    endpoint: str | None = None
    tls: bool = True
    ephemeral_tokens: bool = False

    def realtime(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "key": self.key(),
            "client_id": self.client_id,
            "tls": self.tls,
            "queue_messages": False,
            "realtime_request_timeout": 4000,
            "disconnected_retry_timeout": 1000,
            "transport_params": {"heartbeats": "true", "echo": "false"},
        }
        if self.endpoint is not None:
            options["endpoint"] = self.endpoint  # the websocket transport wants the port inside
        return options

    def rest(self) -> dict[str, Any]:
        options: dict[str, Any] = {"key": self.key(), "client_id": self.client_id, "tls": self.tls}
        if not self.tls:
            options["use_token_auth"] = True  # the SDK sends no key over plain HTTP
        if self.endpoint is not None:
            host, _, port = self.endpoint.rpartition(":") if ":" in self.endpoint else (self.endpoint, "", "")
            options["endpoint"] = host
            if port:
                options["tls_port" if self.tls else "port"] = int(port)
        return options


NewClient = Callable[[dict[str, Any]], Awaitable[Client]]
"""Options of the SDK -> a client that was not connected yet."""
STATES = {state.value: state for state in LinkState}


async def new_client(options: dict[str, Any]) -> Client:
    return await asyncio.to_thread(Client, options, asyncio.get_running_loop())


class Connection:
    """One realtime connection that reconnects by itself for as long as `run` runs. See `processor.ports.realtime.Link`."""

    def __init__(
        self,
        options: AblyOptions,
        pace: Pace,
        retry: Retry,
        changed: Callable[[], None],
        new_client: NewClient = new_client,
    ) -> None:
        self._options = options
        self._retry = retry
        self._changed = changed
        self._new_client = new_client
        self._client: Client | None = None
        self._acknowledged = False
        self._epoch = 0
        self._up = asyncio.Event()
        self._broken = asyncio.Event()
        self._deadlines = Deadlines()
        self._key: str | None = None
        self.pace = pace
        self.state = LinkState.INITIALIZED
        self.refusal: str | None = None
        """Why the service does not take our credentials, as a sentence; None while it does."""

    def __repr__(self) -> str:
        return f"<Connection {self.state} epoch={self._epoch}>"

    async def run(self) -> None:
        async with asyncio.TaskGroup() as closing:
            while True:
                if await self._use_one_client():
                    self._retry.succeeded()
                if (client := self._let_go()) is not None:
                    closing.create_task(client.discard())
                await self._wait_for_change(self._retry.delay(RETRY_REFUSED if self.refusal is not None else None))

    async def _use_one_client(self) -> bool:
        """Runs a client until it is broken. Returns whether it stayed connected, or a message was acknowledged over it."""
        try:
            await self._open()
            return await self._live()
        except asyncio.CancelledError:
            if (client := self._let_go()) is not None:
                await client.discard()
            raise
        except Exception as error:  # noqa: BLE001 - whatever the SDK raises, the next client is tried
            self._note_refusal(error)
            log.info("realtime_unreachable", cause=type(error).__name__)
            return False

    async def _live(self) -> bool:
        try:
            async with asyncio.timeout(CONNECT_DEADLINE):
                await _first(self._up, self._broken)
        except TimeoutError:
            return False
        loop = asyncio.get_running_loop()
        was_up, since = self._up.is_set(), loop.time()
        await self._broken.wait()
        return was_up and (self._acknowledged or loop.time() - since > STEADY)

    async def _open(self) -> None:
        self._broken.clear()
        self._acknowledged = False
        options = self._options.realtime()
        self._key = options["key"]
        client = self._client = await self._new_client(options)
        client.connect(
            lambda change: self._on_change(client, change),
            lambda reason: self._lost(client, LinkState.DISCONNECTED, reason),
        )

    def _on_change(self, client: Client, change: Any) -> None:
        if client is not self._client:
            return
        self._epoch += 1
        state = STATES.get(change.current.value, LinkState.DISCONNECTED)
        if change.current == ConnectionState.CONNECTED:
            client.was_connected()
            self.refusal = None
            self._up.set()
            self._show(state)
        elif self._up.is_set() or change.current in {ConnectionState.FAILED, ConnectionState.SUSPENDED}:
            self._lost(client, state, change.reason)
        else:
            self._show(state)

    def _lost(self, client: Client, state: LinkState, reason: Any) -> None:
        """Ends the use of this client."""
        if client is not self._client or self._broken.is_set():
            return
        self._epoch += 1
        if isinstance(reason, AblyException):
            self._note_refusal(reason)
        log.info("realtime_disconnected", state=state, code=number(getattr(reason, "code", 0)))
        self._break(client)
        self._show(state)

    def _note_refusal(self, error: Exception) -> None:
        if isinstance(error, SettingsError):
            self.refusal = str(error)
        elif isinstance(error, AblyException):
            refusal = refusal_of(error.code, error.status_code, error.message)
            if refusal.kind is RefusalKind.CREDENTIALS:
                self.refusal = f"the realtime service refuses the key ({refusal.code}): {refusal}"

    def _let_go(self) -> Client | None:
        """Returns the client to discard. No answer of it counts from now on."""
        client, self._client = self._client, None
        self._epoch += 1
        self._up.clear()
        self._show(LinkState.CLOSED)
        return client

    async def _wait_for_change(self, delay: float) -> None:
        """Wait before the next client; where the key was refused, a new key cuts the wait short."""
        waited = 0.0
        while waited < delay:
            pause = min(KEY_CHECK, delay - waited)
            await asyncio.sleep(pause)
            waited += pause
            if self.refusal is not None and self._key_changed():
                return

    def _key_changed(self) -> bool:
        try:
            return self._options.key() != self._key
        except SettingsError:
            return False

    def recheck_credentials(self) -> None:
        """A message was refused for the account: if the key has changed since, connect again with the new one."""
        if self._client is not None and self._key_changed():
            self._break(self._client)

    def _show(self, state: LinkState) -> None:
        self.state = state
        self._changed()

    async def connected(self) -> None:
        await self._up.wait()

    async def publish(self, frame: Frame, deadline: float) -> None:
        """Publish once and wait for the answer, at most `deadline` seconds. Raises PublishRetry or PublishRefused."""
        client, epoch = self._client, self._epoch
        if client is None or not self._up.is_set():
            raise PublishRetry("the connection is down")
        try:
            answer = client.send(self._protocol_message(frame))
            self._deadlines.set(answer, deadline)
            await answer
        except AblyException as error:
            if epoch != self._epoch:
                raise PublishRetry("the connection failed before the answer came") from None
            raise refusal_of(error.code, error.status_code, error.message) from None
        except TimeoutError:
            self._break(client)
            raise PublishRetry("no answer in time") from None
        except Exception as error:
            self._break(client)
            raise PublishRetry(f"the connection broke ({type(error).__name__})") from error
        if epoch != self._epoch:
            raise PublishRetry("the connection changed before the answer came")
        self._acknowledged = True

    def _protocol_message(self, frame: Frame) -> dict[str, Any]:
        """Raises AblyException (40009) for a message above the size that the service takes of everyone."""
        message = message_of(frame, self._options)
        characters = len(frame.data or "") + len(frame.headers.get("partInfo", ""))
        if characters * 4 > MAX_MESSAGE_BYTES - FRAME_OVERHEAD:
            validate_message_size([message], True, MAX_MESSAGE_BYTES)
        return {"action": ProtocolMessageAction.MESSAGE, "channel": frame.channel, "messages": [message]}

    def _break(self, client: Client) -> None:
        if client is self._client:
            self._up.clear()
            self._broken.set()


def message_of(frame: Frame, options: AblyOptions) -> dict[str, Any]:
    """The frame as a message of Ably's protocol, in its binary format."""
    extras: dict[str, Any] = {"headers": frame.headers}
    if options.ephemeral_tokens and frame.name in {"token", "part"}:
        extras["ephemeral"] = True
    message = {"name": frame.name, "clientId": options.client_id, "id": frame.id, "extras": extras}
    if frame.data is not None:
        message["data"] = frame.data
    if frame.json:
        message["encoding"] = "json"
    return message


async def _first(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    tasks = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


class HistoryReader:
    """Reads channels' histories over REST, with one client for all: making one takes the SDK long.

    A few at once: after a crash those of all open responses are asked for in the same moment, and each takes the SDK
    some milliseconds of processor.
    """

    def __init__(self, options: AblyOptions) -> None:
        self._options = options
        self._client: AblyRest | None = None
        self._turns = asyncio.Semaphore(HISTORIES_AT_ONCE)
        self._asked = 0
        self._waiting = 0
        self._failures = 0
        self._hopeless = 0
        """Requests numbered below this fail immediately: history reads are not being answered."""

    async def read(self, channel: str, within: float) -> ChannelHistory:
        """The newest messages, as many as can be read in `within` seconds of its turn. Raises PublishRetry when none can."""
        if self._waiting >= HISTORY_LINE:
            raise PublishRetry("too many histories are asked for")
        number, self._asked = self._asked, self._asked + 1
        self._waiting += 1
        try:
            async with asyncio.timeout(HISTORY_QUEUE):
                await self._turns.acquire()
        except TimeoutError:
            raise PublishRetry("too many histories are asked for") from None
        finally:
            self._waiting -= 1
        try:
            if number < self._hopeless:
                raise PublishRetry("the histories of channels can't be read")
            return await self._read_whole(channel, within)
        finally:
            self._turns.release()

    async def _read_whole(self, channel: str, within: float) -> ChannelHistory:
        history = ChannelHistory()
        client = self._client
        try:
            if client is None:
                client = self._client = AblyRest(**self._options.rest())
            await self._read_pages(client, channel, within, history)
        except Exception as error:
            if client is self._client:  # else it was closed for what happened to another's request
                await self._failed(error)
            if not history.pages:
                raise PublishRetry(f"the history of a channel could not be read ({type(error).__name__})") from error
        else:
            self._failures = 0
        return history

    async def _read_pages(self, client: AblyRest, channel: str, within: float, history: ChannelHistory) -> None:
        async with asyncio.timeout(within):
            async for page in history_pages(client, channel, HISTORY_PAGE):
                history.add([_past(item) for item in page], self._options.client_id)

    async def _failed(self, error: Exception) -> None:
        if isinstance(error, AblyException) and number(error.status_code, 500) < 500:
            if refusal_of(error.code, error.status_code, "").kind is RefusalKind.CREDENTIALS:
                await self.close()  # the key may have changed
            return  # the others are not refused for what this channel is
        self._failures += 1
        if self._failures >= HOPELESS:
            self._hopeless = self._asked
        if not isinstance(error, (TimeoutError, AblyException, *UNREADABLE)):
            await self.close()  # its connections may be beyond help

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_DEADLINE):
                    await client.close()


def _past(item: Mapping[str, Any]) -> PastMessage:
    extras = item.get("extras")
    headers = extras.get("headers") if isinstance(extras, Mapping) else None
    return PastMessage(
        id=str(item.get("id") or ""),
        name=str(item.get("name") or ""),
        data=None if item.get("encoding") else item.get("data"),
        client_id=str(item.get("clientId") or ""),
        headers={str(name): str(value) for name, value in headers.items()} if isinstance(headers, Mapping) else {},
    )
