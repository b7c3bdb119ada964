"""The realtime service and its SDK: what `processor.ably.ably.Connection` talks to.

The service keeps order per connection, drops repeats by id for two minutes, refuses by rate, size and channel, and
has a history that may lag or be gone. The SDK, as the real one does when a connection fails under it, may forget a
publish that waits for its answer, raise, or believe the next connection's answer to be this one's.
"""

import asyncio
import contextvars
import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from ably.types.connectionstate import ConnectionState
from ably.util.exceptions import AblyException

from processor.ably.ably import RETRY, AblyOptions, Connection
from processor.ably.provider import AblyRates, profile_of
from processor.clock import Clock
from processor.core.channel_history import ChannelHistory, PastMessage
from processor.core.pacing import Pace
from processor.errors import PublishRetry
from processor.ports.realtime import Link, Provider
from processor.reader.frames import Message
from processor.telemetry.retry import Retry
from simulation.coverage import Coverage
from simulation.loop import VirtualLoop

ID_WINDOW = 120.0
MAX_MESSAGE = 65_536
Sent = Mapping[str, Any]
"""A message as the protocol has it."""
CLIENT_ID = "tokenstream"


@dataclass(frozen=True, slots=True)
class Accepted:
    at: float
    message: Message
    sender: str


@dataclass(slots=True)
class Channel:
    log: list[Accepted] = field(default_factory=list)
    ids: dict[str, float] = field(default_factory=dict)
    forbidden: bool = False
    too_large: int = MAX_MESSAGE
    arrivals: deque[float] = field(default_factory=deque)


@dataclass(slots=True)
class Trouble:
    """What the faults turn. Chances are of one message."""

    down: bool = False
    outage: bool = False
    """Down for long."""
    slow: float = 0.0
    """Seconds a message is on its way, at most."""
    history: str = "whole"
    """`whole`, `missing`, `stale` or `unavailable`."""
    lose_ack: float = 0.0
    late_ack: float = 0.0
    nack: float = 0.0
    rate: float = 0.0
    """Messages a second a channel may have; 0 is no limit."""

    @property
    def away(self) -> bool:
        return self.down or self.outage


class Service:
    """`watch` is called with every message before it takes its place on a channel."""

    def __init__(self, loop: VirtualLoop, random: Random, coverage: Coverage) -> None:
        self.loop = loop
        self.random = random
        self.coverage = coverage
        self.channels: dict[str, Channel] = {}
        self.trouble = Trouble()
        self.clients: list[SimClient] = []
        self.refused_keys: frozenset[str] = frozenset()
        self.watch: Callable[[str, Message, str], None] = lambda _channel, _message, _sender: None
        self.sending: Callable[[str], None] = lambda _sender: None
        """Called with every message that leaves a node, and with each that arrives."""
        self.leaving: Callable[[str, str], None] = lambda _response_id, _sender: None
        """Called with every message that leaves a node."""

    def channel(self, name: str) -> Channel:
        return self.channels.setdefault(name, Channel())

    def take(self, name: str, message: Sent, sender: str) -> tuple[int, int] | None:
        """A message has arrived: (code, status) of its refusal, or None when it is acknowledged."""
        channel, now = self.channel(name), self.loop.now
        if refusal := self._refusal(channel, message):
            self.coverage.fault(f"nack_{refusal[0]}")
            return refusal
        if now - channel.ids.get(message["id"], float("-inf")) < ID_WINDOW:
            self.coverage.fault("id_dropped")
            return None
        channel.ids[message["id"]] = now
        received = Message(
            name=message["name"],
            data=_decoded(message.get("data"), message.get("encoding")),
            headers=message["extras"]["headers"],
            client_id=message["clientId"],
            id=message["id"],
        )
        self.watch(name, received, sender)
        channel.log.append(Accepted(now, received, sender))
        return None

    def _refusal(self, channel: Channel, message: Sent) -> tuple[int, int] | None:
        if channel.forbidden:
            return 40160, 401
        size = len((message.get("data") or "").encode()) + len(message["id"]) + len(str(message["extras"]))
        if size > channel.too_large:
            return 40009, 400
        trouble, now = self.trouble, self.loop.now
        if trouble.rate:
            while channel.arrivals and channel.arrivals[0] < now - 1:
                channel.arrivals.popleft()
            if len(channel.arrivals) >= trouble.rate:
                return 42913, 429
            channel.arrivals.append(now)
        if self.random.random() < trouble.nack:
            return self.random.choice(((42911, 429), (50000, 500)))
        return None

    def history(self, name: str) -> ChannelHistory:
        """Raises PublishRetry."""
        trouble = self.trouble.history
        self.coverage.fault("history_asked")
        if trouble != "whole":
            self.coverage.fault(f"history_{trouble}")
        if trouble == "unavailable":
            raise PublishRetry("the history of a channel could not be read")
        log = [] if trouble == "missing" else self.channel(name).log
        if trouble == "stale":
            log = log[: int(len(log) * self.random.random())]
        history = ChannelHistory()
        history.add((_past(each.message) for each in log), CLIENT_ID)
        return history


def _decoded(data: Any, encoding: str | None) -> Any:
    return json.loads(data) if encoding == "json" else data


def _past(message: Message) -> PastMessage:
    return PastMessage(message.id or "", message.name, message.data, CLIENT_ID, dict(message.headers))


@dataclass(frozen=True, slots=True)
class Change:
    current: ConnectionState
    reason: AblyException | None = None


class SimClient:
    """As much of the product's `Client`, and of the SDK behind it, as its connection uses, of one node."""

    def __init__(self, service: Service, sender: str, key: str) -> None:
        self._service = service
        self._key = key
        self._loop = service.loop
        self._random = service.random
        self.sender = sender
        self.context = contextvars.copy_context()
        self._listener: Callable[[Change], None] = lambda _: None
        self._pending: deque[asyncio.Future[None]] = deque()
        self._line = 0.0
        self._answers = 0.0
        self._life = 0
        """Grows when the connection ends: what was on the way back then is lost."""
        self.connected = False
        self.closed = False
        self.request_state: Any = None
        service.clients.append(self)

    def connect(self, changed: Callable[[Any], None], disconnected: Callable[[Any], None]) -> None:
        del disconnected  # here that is a change like others
        self._listener = changed
        self._tell(ConnectionState.CONNECTING, 0.0)
        self._later(self._random.uniform(0.01, 0.1), self._connect)

    def was_connected(self) -> None: ...

    def _later(self, delay: float, callback: Callable[..., None], *args: object) -> None:
        """In the node's own context: a frozen SDK does nothing."""
        self._loop.later(delay, callback, *args, context=self.context)

    def _tell(self, state: ConnectionState, delay: float = 0.0) -> None:
        self._later(delay, self._say, state)

    def _say(self, state: ConnectionState) -> None:
        if not self.closed:
            self._listener(Change(state))

    def _connect(self) -> None:
        if self.closed or self.connected:
            return
        if self._service.trouble.away:
            self._later(1.0, self._connect)
            return
        if self._key in self._service.refused_keys:
            self._listener(Change(ConnectionState.FAILED, AblyException("Invalid credentials", 401, 40101)))
            return
        self.connected = True
        self._listener(Change(ConnectionState.CONNECTED))

    def disconnect_busy(self, suspended: bool, patience: int = 60) -> None:
        """End the connection as soon as something waits for an answer, which is when it hurts."""
        if self._pending or not patience:
            self.disconnect(suspended)
        else:
            self._later(0.05, self.disconnect_busy, suspended, patience - 1)

    def disconnect(self, suspended: bool = False) -> None:
        """The connection ends. To be called in the client's context. What waits for an answer is treated as the SDK does."""
        if self.closed or not self.connected:
            return
        self.connected = False
        self._life += 1
        pending, self._pending = list(self._pending), deque()
        for answer in pending:
            self._leave_unanswered(answer)
        self._listener(Change(ConnectionState.SUSPENDED if suspended else ConnectionState.DISCONNECTED))
        if not suspended:
            self._later(self._random.uniform(0.05, 1.5), self._connect)

    def _leave_unanswered(self, answer: asyncio.Future[None]) -> None:
        fate = self._random.random()
        if fate < 0.4:
            self._service.coverage.fault("ack_stale")
            self._loop.outside(self._random.uniform(0.0, 2.0), _answer, answer, None)
        elif fate < 0.7:
            self._loop.outside(0.0, _answer, answer, AblyException("Connection to server unavailable", 400, 80003))
        else:
            self._service.coverage.fault("ack_forgotten")

    async def discard(self) -> None:
        self.closed = True
        self.connected = False
        self._life += 1
        if self in self._service.clients:
            self._service.clients.remove(self)

    def send(self, sent: Mapping[str, Any]) -> asyncio.Future[None]:
        if not self.connected:
            raise AblyException("Connection to server unavailable", 400, 80003)
        channel, (message,) = sent["channel"], sent["messages"]
        self._service.sending(self.sender)
        self._service.leaving(message["extras"]["headers"]["responseId"], self.sender)
        answer: asyncio.Future[None] = self._loop.create_future()
        self._pending.append(answer)
        self._line = max(self._line, self._loop.now + self._random.uniform(0.002, 0.03) + self._slowness())
        self._loop.outside(self._line - self._loop.now, self._arrive, channel, message, answer, self._life)
        return answer

    def _slowness(self) -> float:
        slow = self._service.trouble.slow
        return slow * self._random.random() if slow else 0.0

    def _arrive(self, channel: str, message: Sent, answer: asyncio.Future[None], life: int) -> None:
        """At the service. What was sent before the connection ended may still have come through."""
        service = self._service
        if service.trouble.away or (life != self._life and self._random.random() < 0.5):
            return
        service.sending(self.sender)
        refusal = service.take(channel, message, self.sender)
        if self._random.random() < service.trouble.lose_ack:
            service.coverage.fault("ack_lost")
            return
        delay = self._random.uniform(0.002, 0.03)
        if self._random.random() < service.trouble.late_ack:
            service.coverage.fault("ack_late")
            delay = self._random.uniform(1.0, 8.0)
        self._answers = max(self._answers, self._loop.now + delay)
        error = None if refusal is None else AblyException("refused by the service", refusal[1], refusal[0])
        self._loop.outside(self._answers - self._loop.now, self._answered, answer, error, life)

    def _answered(self, answer: asyncio.Future[None], error: AblyException | None, life: int) -> None:
        if life == self._life and answer in self._pending:
            self._pending.remove(answer)
            _answer(answer, error)


class SimHistories:
    """The histories of channels, as one node reads them."""

    def __init__(self, service: Service, random: Random) -> None:
        self._service = service
        self._random = random

    async def read(self, channel: str, within: float) -> ChannelHistory:
        await asyncio.sleep(self._random.uniform(0.01, 0.3))
        if self._service.trouble.away:
            await asyncio.sleep(within)
            raise PublishRetry("the history of a channel could not be read")
        return self._service.history(channel)

    async def close(self) -> None:
        pass


def sim_provider(
    service: Service,
    sender: str,
    clock: Clock,
    random: Random,
    *,
    key: Callable[[], str] = lambda: "key",
) -> Provider:
    """The service for one node: the product's connections, over the SDK of this world."""
    options = AblyOptions(key=key, client_id=CLIENT_ID)
    rates = AblyRates()

    async def new_client(options: dict[str, Any]) -> Any:
        return SimClient(service, sender, options["key"])

    def new_link(changed: Callable[[], None]) -> Link:
        pace = Pace(rates.connection, rates.connection / 9, clock.monotonic())
        return Connection(options, pace, Retry(RETRY, random.random, lambda: None), changed, new_client)

    return Provider(profile=profile_of(rates), new_link=new_link, histories=SimHistories(service, random))


def _answer(answer: asyncio.Future[None], error: Exception | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(None)
    else:
        answer.set_exception(error)


Published = Mapping[str, list[Message]]
