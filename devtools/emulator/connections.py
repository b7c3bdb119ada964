"""A connection, which outlives one socket, and its queue of acknowledgements, which are sent in order. Pure."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from devtools.emulator import wire
from devtools.emulator.auth import Grant
from devtools.emulator.channels import Channels, Subscription, split_qualifier
from devtools.emulator.wire import Action, ProtocolMessage, PublishResult

FORGOTTEN = 10_000
"""The number of ids of ended connections that are kept, to distinguish an expired key from an unknown one."""


@dataclass(slots=True)
class Answer:
    """The outcome of the publish with this serial, which is not sent before `due`."""

    serial: int
    due: float
    serials: tuple[str, ...] | None = None
    error: wire.ErrorInfo | None = None


def answer_frame(serial: int, serials: tuple[str, ...] | None, error: wire.ErrorInfo | None) -> ProtocolMessage:
    if error is not None:
        return ProtocolMessage(action=Action.NACK, msg_serial=serial, count=1, error=error)
    return ProtocolMessage(action=Action.ACK, msg_serial=serial, count=1, res=[PublishResult(serials or ())])


class Answers:
    """Answers held back. A held one holds all later ones: the protocol knows no gaps."""

    __slots__ = ("_held", "stalled")

    def __init__(self) -> None:
        self._held: deque[Answer] = deque()
        self.stalled = False
        """An answer was swallowed: so are all later ones, until the connection is resumed."""

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, answer: Answer) -> None:
        self._held.append(answer)

    def hurry(self, now: float) -> None:
        for answer in self._held:
            answer.due = min(answer.due, now)

    def wake(self) -> float | None:
        return self._held[0].due if self._held else None

    def release(self, now: float) -> list[ProtocolMessage]:
        """What is due, neighbouring acknowledgements merged into one frame."""
        frames: list[ProtocolMessage] = []
        while self._held and self._held[0].due <= now:
            answer = self._held.popleft()
            frame = answer_frame(answer.serial, answer.serials, answer.error)
            if not frames or not merge_acknowledgements(frames[-1], frame):
                frames.append(frame)
        return frames

    def clear(self) -> None:
        self._held.clear()
        self.stalled = False


def merge_acknowledgements(last: ProtocolMessage, following: ProtocolMessage) -> bool:
    """Merges two acknowledgements of neighbouring serials into the first. Returns True if they could be merged."""
    if last.action != Action.ACK or following.action != Action.ACK:
        return False
    assert last.msg_serial is not None and last.res is not None and following.res is not None  # noqa: PT018
    if last.msg_serial + len(last.res) != following.msg_serial:
        return False
    last.res.extend(following.res)
    last.count = len(last.res)
    return True


@dataclass(slots=True, eq=False)
class Connection:
    id: str
    key: str
    grant: Grant
    client_id: str | None
    echo: bool
    link: int | None = None
    """The socket it has now, or None while it may still be resumed."""
    lost_at: float = 0.0
    continuity_lost: bool = False
    """Whether its resume was refused: the channels that it attaches start without continuity."""
    reauth_asked: bool = False
    answers: Answers = field(default_factory=Answers)
    attached: dict[str, Subscription] = field(default_factory=dict)
    """By the full channel name the client used."""
    told_at: float = float("-inf")
    """When it was last notified that messages to it were dropped."""


def detach(channels: Channels, connection: Connection, name: str) -> None:
    subscription = connection.attached.pop(name, None)
    channel = channels.peek(split_qualifier(name)[0])
    if subscription is not None and channel is not None:
        channel.subscriptions.pop((subscription.link, name), None)


class Connections:
    """All connections: those with a socket by its link, and all that may be resumed by their key."""

    def __init__(self, channels: Channels) -> None:
        self.links: dict[int, Connection] = {}
        self._channels = channels
        self._by_id: dict[str, Connection] = {}
        self._by_key: dict[str, Connection] = {}
        self._forgotten: OrderedDict[str, None] = OrderedDict()

    def __iter__(self) -> Iterator[Connection]:
        """The connections with a socket; they may be dropped while iterating."""
        return iter(list(self.links.values()))

    def resumable(self, key: str) -> Connection | None:
        return self._by_key.get(key)

    def knew(self, key: str) -> bool:
        """Whether the key may have been one of a connection of this server, be it gone by now."""
        connection_id = key.partition("!")[0]
        return connection_id in self._by_id or connection_id in self._forgotten

    def open(self, connection: Connection, link: int, secret: str) -> None:
        """Gives the connection this socket and a new key."""
        self._by_key.pop(connection.key, None)
        connection.key = f"{connection.id}!{secret}"
        connection.link = link
        self._by_id[connection.id] = self._by_key[connection.key] = self.links[link] = connection

    def lost(self, link: int, now: float) -> None:
        """Detaches the socket. Nothing is delivered until a resume, and held-back acknowledgements are never sent."""
        connection = self.links.pop(link, None)
        if connection is not None:
            self._leave_channels(connection)
            connection.answers.clear()
            connection.link = None
            connection.lost_at = now

    def forget(self, connection: Connection) -> None:
        self._leave_channels(connection)
        if connection.link is not None:
            self.links.pop(connection.link, None)
            connection.link = None
        self._by_id.pop(connection.id, None)
        self._by_key.pop(connection.key, None)
        self._forgotten[connection.id] = None
        if len(self._forgotten) > FORGOTTEN:
            self._forgotten.popitem(last=False)

    def forget_lost(self, before: float) -> list[Connection]:
        """Forgets the connections that lost their socket before this time."""
        gone = [one for one in self._by_id.values() if one.link is None and one.lost_at < before]
        for connection in gone:
            self.forget(connection)
        return gone

    def _leave_channels(self, connection: Connection) -> None:
        for name in list(connection.attached):
            detach(self._channels, connection, name)
