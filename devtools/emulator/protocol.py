"""The realtime protocol, without sockets: its input is frames with their time of arrival, its output effects. Pure.

Rules:
- A connection outlives its socket by two minutes. A client that has its key may resume it, and the newest socket wins.
- Publishes of a connection are answered in the order of arrival, without gaps.
- A publish whose id (of an array: its base; without one, connection id and serial) was accepted on the channel in the
  last two minutes is acknowledged with the first result and not delivered again.
- A subscriber gets ATTACHED, then what it missed or asked to rewind, then live messages, in channel order.
"""

from collections.abc import Callable
from dataclasses import dataclass

from devtools.emulator import faults as faulty
from devtools.emulator import wire
from devtools.emulator.attaching import attach, reattached
from devtools.emulator.auth import Grant, Key, Keyring, Refused, authorize_key, authorize_token
from devtools.emulator.connections import Answer, Connection, Connections, answer_frame, detach
from devtools.emulator.effects import Close, Effect, Fanout, Send
from devtools.emulator.injecting import end, inject
from devtools.emulator.publishing import Publishing
from devtools.emulator.wire import Action, ConnectionDetails, Message, ProtocolMessage

CONNECTION_STATE_TTL = 120.0
MAX_IDLE_INTERVAL = 15.0
HEARTBEAT_INTERVAL = 5.0


@dataclass(frozen=True, slots=True)
class ConnectParams:
    """The query parameters of a connecting client."""

    key: str | None = None
    token: str | None = None
    client_id: str | None = None
    resume: str | None = None
    echo: bool = True


@dataclass(slots=True)
class Publish:
    """A publish on its way through."""

    connection: Connection
    link: int
    channel: str
    serial: int
    messages: list[Message]
    size: int


@dataclass(slots=True)
class Totals:
    """Counted since the start."""

    connects: int = 0
    resumes: int = 0
    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    delivered: int = 0


class Protocol:
    """`epoch` is the wall time, in seconds, at which `now` was zero."""

    def __init__(self, key: Key, publishing: Publishing, faults: faulty.Faults, epoch: float) -> None:
        self.keys = Keyring(key)
        self.publishing = publishing
        self.channels = publishing.channels
        self.faults = faults
        self.epoch = epoch
        self.totals = Totals()
        self.connections = Connections(publishing.channels)
        self._waking: set[Connection] = set()
        self._late: list[tuple[float, Effect]] = []
        self._next_heartbeat = 0.0

    # -- a socket comes and goes

    def connect_refusal(self) -> faulty.RefuseConnect | None:
        """How a socket about to be opened is refused: without a `code` by HTTP, with one by `open`."""
        return self.faults.first(faulty.RefuseConnect) if self.faults.active else None

    def open(
        self,
        link: int,
        params: ConnectParams,
        fresh: Callable[[], str],
        now: float,
        refusal: faulty.RefuseConnect | None = None,
    ) -> list[Effect]:
        """A socket was opened. `fresh` gives unguessable ids."""
        if refusal is not None:
            action = Action.DISCONNECTED if refusal.disconnected else Action.ERROR
            return [Send(link, ProtocolMessage(action=action, error=refusal.error())), Close(link)]
        try:
            grant = self.authorize(params.key, params.token, now)
            client_id = bound_client_id(grant, params.client_id)
        except Refused as refused:
            return [Send(link, ProtocolMessage(action=Action.ERROR, error=refused.info)), Close(link)]
        effects: list[Effect] = []
        connection, error = self._resumed(params, client_id, now, effects)
        if connection is None:
            connection = Connection(fresh(), "", grant, client_id, params.echo)
            connection.continuity_lost = (
                error is not None and error.code == 80018 and self.connections.knew(params.resume or "")
            )
        self.connections.open(connection, link, fresh())
        connection.grant, connection.reauth_asked = grant, False
        self.totals.connects += 1
        welcome = Send(link, self._connected(connection, error))
        delay = self.faults.first(faulty.DelayConnected) if self.faults.active else None
        if delay is not None:
            self._late.append((now + delay.ms / 1000, welcome))
            return effects
        return [*effects, welcome]

    def authorize(self, key: str | None, token: str | None, now: float) -> Grant:
        """Raises Refused."""
        if token is not None:
            return authorize_token(self.keys, token, self.epoch + now)
        return authorize_key(self.keys, key or "")

    def _resumed(
        self, params: ConnectParams, client_id: str | None, now: float, effects: list[Effect]
    ) -> tuple[Connection | None, wire.ErrorInfo | None]:
        if params.resume is None:
            return None, None
        refusal = self.faults.first(faulty.RefuseResume) if self.faults.active else None
        if refusal is not None:
            return None, refusal.error()
        found = self.connections.resumable(params.resume)
        if found is None and not self.connections.knew(params.resume):
            return None, wire.error(80018, "Invalid connectionKey: it is none that this server gave")
        if found is None or found.client_id != client_id:
            return None, wire.error(80008, "Unable to recover connection: connection expired or unknown")
        if found.link is not None:
            effects.append(Close(found.link))
            self.lost(found.link, now)
        self.totals.resumes += 1
        return found, None

    def _connected(self, connection: Connection, error: wire.ErrorInfo | None = None) -> ProtocolMessage:
        limits = self.faults.limits
        details = ConnectionDetails(
            connection_key=connection.key,
            client_id=connection.client_id,
            max_message_size=wire.MAX_MESSAGE_SIZE,
            max_inbound_rate=50 if limits else None,
            max_outbound_rate=50 if limits else None,
            max_frame_size=524288,
            server_id="local",
            connection_state_ttl=int(CONNECTION_STATE_TTL * 1000),
            max_idle_interval=int(MAX_IDLE_INTERVAL * 1000),
        )
        return ProtocolMessage(
            action=Action.CONNECTED,
            connection_id=connection.id,
            connection_key=connection.key,
            connection_details=details,
            error=error,
        )

    def lost(self, link: int, now: float) -> None:
        """A socket is gone; its connection may be resumed for two minutes."""
        self.connections.lost(link, now)

    # -- frames

    def receive(self, link: int, message: ProtocolMessage, size: int, now: float) -> list[Effect]:
        """A frame of `size` bytes came. Frames for links already gone are ignored."""
        connection = self.connections.links.get(link)
        if connection is None:
            return []
        match message.action:
            case Action.MESSAGE:
                publish = Publish(
                    connection, link, message.channel or "", message.msg_serial or 0, message.messages or [], size
                )
                return self._publish(publish, now)
            case Action.ATTACH:
                return attach(self.channels, connection, link, message, now)
            case Action.DETACH:
                name = message.channel or ""
                detach(self.channels, connection, name)
                return [Send(link, ProtocolMessage(action=Action.DETACHED, channel=name))]
            case Action.HEARTBEAT:
                return [Send(link, ProtocolMessage(action=Action.HEARTBEAT, id=message.id))]
            case Action.CLOSE:
                self.connections.forget(connection)
                return [Send(link, ProtocolMessage(action=Action.CLOSED)), Close(link)]
            case Action.DISCONNECT:
                self.lost(link, now)
                return [Close(link)]
            case Action.AUTH:
                return self._reauthorize(connection, link, message, now)
            case Action.PRESENCE if message.msg_serial is not None:
                refusal = wire.error(40000, "This local server has no presence")
                return [Send(link, answer_frame(message.msg_serial, None, refusal))]
        return []

    def _reauthorize(self, connection: Connection, link: int, message: ProtocolMessage, now: float) -> list[Effect]:
        token = message.auth.access_token if message.auth is not None else None
        try:
            grant = self.authorize(None, token or "", now)
            bound_client_id(grant, connection.client_id)
        except Refused as refused:
            frame = ProtocolMessage(action=Action.ERROR, error=refused.info)
            return end(connection, self.connections, frame, now, forget=True)
        connection.grant, connection.reauth_asked = grant, False
        return [Send(link, self._connected(connection))]

    def _publish(self, publish: Publish, now: float) -> list[Effect]:
        if not self.faults.active:
            return self._accept(publish, now)
        connection, name = publish.connection, publish.channel
        effects = self._inject_at(name, "before", connection, now)
        if connection.link is None:
            return effects
        drop = self.faults.first(faulty.DropPublish, name)
        if drop is not None:
            connection.answers.stalled |= not drop.skip_only
            return effects
        code = self._over_limit(publish, now)
        refusal = self.faults.first(faulty.Nack, name)
        info = wire.error(code) if code is not None else refusal.error() if refusal is not None else None
        if info is not None:
            self.totals.refused += 1
            effects += self._answer(publish, Answer(publish.serial, now, error=info), now)
        else:
            effects += self._accept(publish, now)
        if code == 42921:
            frame = ProtocolMessage(action=Action.ERROR, error=wire.error(42921))
            effects += end(connection, self.connections, frame, now, forget=True)
        return effects + self._inject_at(name, "answered", connection, now)

    def _over_limit(self, publish: Publish, now: float) -> int | None:
        limits = self.faults.limits
        if limits is None:
            return None
        return limits.refuse(publish.connection.id, publish.channel, len(publish.messages), now)

    def _accept(self, publish: Publish, now: float) -> list[Effect]:
        connection = publish.connection
        try:
            result = self.publishing.publish(
                publish.channel,
                publish.messages,
                connection.grant,
                now,
                connection=connection,
                fallback=f"{connection.id}:{publish.serial}",
                size=publish.size,
            )
        except Refused as refused:
            self.totals.refused += 1
            return self._answer(publish, Answer(publish.serial, now, error=refused.info), now)
        self.count(result.entry is not None)
        answer = Answer(publish.serial, now, serials=result.serials)
        if not self.faults.active:
            return [*self._answer(publish, answer, now), *self._limited(result.fanouts, now)]
        deliveries = self._limited(result.fanouts, now)
        struck = self._inject_at(publish.channel, "after", connection, now)
        if connection.link is None:
            return [*deliveries, *struck]
        return [*struck, *self._answer(publish, answer, now), *deliveries]

    def count(self, accepted: bool) -> None:
        if accepted:
            self.totals.accepted += 1
        else:
            self.totals.duplicates += 1

    def _answer(self, publish: Publish, answer: Answer, now: float) -> list[Effect]:
        connection, channel = publish.connection, publish.channel
        if self.faults.active:
            drop = self.faults.first(faulty.DropAck, channel)
            if drop is not None:
                connection.answers.stalled |= not drop.skip_only
                return []
            delay = self.faults.first(faulty.DelayAck, channel)
            batch = self.faults.first(faulty.BatchAck, channel)
            if connection.answers.stalled:
                return []
            if delay is not None or batch is not None:
                answer.due = now + max(delay.ms if delay else 0.0, batch.ms if batch else 0.0) / 1000
                connection.answers.hold(answer)
                self._waking.add(connection)
                if batch is not None and len(connection.answers) >= batch.count:
                    connection.answers.hurry(now)
                return self._released(connection, now)
        if connection.answers.stalled:
            return []
        if len(connection.answers):
            connection.answers.hold(answer)
            return self._released(connection, now)
        return [Send(publish.link, answer_frame(answer.serial, answer.serials, answer.error))]

    def _released(self, connection: Connection, now: float) -> list[Effect]:
        frames = connection.answers.release(now)
        if not len(connection.answers):
            self._waking.discard(connection)
        link = connection.link
        return [Send(link, frame) for frame in frames] if link is not None else []

    def _limited(self, fanouts: list[Fanout], now: float) -> list[Effect]:
        """Returns the deliveries. With rate limits, links above their limit are left out and notified."""
        limits = self.faults.limits
        effects: list[Effect] = []
        for fanout in fanouts:
            self.totals.delivered += len(fanout.links)
            if limits is None:
                effects.append(fanout)
                continue
            count = len(fanout.message.messages or ())
            kept = tuple(link for link in fanout.links if limits.deliver(self.connections.links[link].id, count, now))
            effects.append(Fanout(kept, fanout.message))
            for link in set(fanout.links) - set(kept):
                effects += self.overflowed(link, now)
        return effects

    def overflowed(self, link: int, now: float) -> list[Effect]:
        """Notifies a link on every channel that messages to it were dropped, at most once per second."""
        connection = self.connections.links.get(link)
        if connection is None or now < connection.told_at + 1.0:
            return []
        connection.told_at = now
        return reattached(self.channels, connection, list(connection.attached), wire.error(80020))

    # -- time

    def next_wake(self) -> float:
        held = (wake for wake in (c.answers.wake() for c in self._waking) if wake is not None)
        late = (due for due, _ in self._late)
        due = self.faults.next_wake()
        expiries = (c.grant.expires - self.epoch for c in self.connections if c.grant.expires is not None)
        return min(self._next_heartbeat, due if due is not None else float("inf"), *held, *late, *expiries)

    def tick(self, now: float) -> list[Effect]:
        """Whatever is due by now; call it at `next_wake()` or any other time."""
        effects: list[Effect] = [effect for due, effect in self._late if due <= now]
        self._late = [(due, effect) for due, effect in self._late if due > now]
        for connection in list(self._waking):
            effects += self._released(connection, now)
        for rule, armed in self.faults.due(now):
            effects += self.inject(rule, armed, now)
        effects += self._expire_tokens(now)
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + HEARTBEAT_INTERVAL
            effects.append(Fanout(tuple(self.connections.links), ProtocolMessage(action=Action.HEARTBEAT)))
            self.channels.expire(now)
            self.channels.discard_idle(now)
            for connection in self.connections.forget_lost(now - CONNECTION_STATE_TTL):
                if self.faults.limits is not None:
                    self.faults.limits.forget(connection.id)
        return effects

    def _expire_tokens(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for link, connection in list(self.connections.links.items()):
            expires = connection.grant.expires
            if expires is None:
                continue
            if self.epoch + now >= expires:
                frame = ProtocolMessage(action=Action.DISCONNECTED, error=wire.error(40142))
                effects += end(connection, self.connections, frame, now)
            elif not connection.reauth_asked and self.epoch + now >= expires - 30.0:
                connection.reauth_asked = True
                effects.append(Send(link, ProtocolMessage(action=Action.AUTH)))
        return effects

    # -- faults

    def _inject_at(self, channel: str, at: str, publisher: Connection, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for rule in self.faults.on_publish(channel, at):
            if isinstance(rule, (faulty.ChannelError, faulty.Detached, faulty.Discontinuity)):
                effects += self.inject(rule, None, now)
            else:
                effects += inject(rule, publisher, self.connections, self.channels, now)
        return effects

    def inject(self, rule: faulty.Injection, armed: faulty.Armed | None, now: float) -> list[Effect]:
        """Does it to every connection it concerns."""
        effects: list[Effect] = []
        for connection in self.connections:
            if rule.connection not in (None, connection.id) or (armed and not armed.chance(rule.share)):
                continue
            effects += inject(rule, connection, self.connections, self.channels, now)
        return effects


def bound_client_id(grant: Grant, asked: str | None) -> str | None:
    """Raises Refused 40102 when the credential is bound to another client id."""
    if grant.client_id in (None, "*"):
        return asked if asked != "*" else None
    if asked not in (None, "*", grant.client_id):
        raise Refused(wire.error(40102, "Mismatched clientId: the token is bound to another one"))
    return grant.client_id
