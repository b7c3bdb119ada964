"""Channels: what was published, in order, within its retention time; and the subscribers. Pure.

A publish is one entry at one position, with all its messages. Updates, appends and deletes are entries of their own.
They change the message where it was created, so history and replays show each message once, complete.
"""

import re
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from devtools.emulator import wire
from devtools.emulator.auth import refuse
from devtools.emulator.serials import Serials, position_of
from devtools.emulator.wire import Message, MessageAction, ProtocolMessage


@dataclass(slots=True, eq=False)
class Entry:
    """One protocol message as accepted. For a change (`target`), `messages` holds what was sent, not the result."""

    position: str
    at: float
    id: str
    connection_id: str | None
    timestamp: int
    messages: list[Message]
    target: str | None = None
    size: int = 0
    before: Message | None = None
    after: Message | None = None
    """Of an update or delete: the message before and after it. Appends make no version of their own."""


@dataclass(slots=True, eq=False)
class Subscription:
    """One channel name as one link attached it: the full name, qualifier and all."""

    link: int
    connection_id: str
    name: str
    mode_flags: int
    echo: bool
    since: str = ""
    """The position it began at: what was created later it has seen."""
    seen: set[str] = field(default_factory=set)
    """Serials of older messages sent whole on this attachment: only then may appends follow as appends."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept. Where a bound is reached the oldest goes first, and positions before it can't be resumed."""

    ttl: float = 120.0
    dedupe: float = 120.0
    channel_messages: int = 10_000
    total_messages: int = 200_000
    total_bytes: int = 256 * 1024 * 1024
    total_ids: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Page:
    """A history query. Times are milliseconds; positions compare as strings."""

    limit: int = 100
    forwards: bool = False
    start: int | None = None
    end: int | None = None
    until: str | None = None
    """Up to and including this position."""
    cursor: str | None = None
    """Only messages after this serial, in the requested direction."""
    hidden_since: int | None = None
    """Messages at or after this time are left out (a stale replica)."""


class Channel:
    def __init__(self, name: str, floor: str) -> None:
        self.name = name
        self.entries: deque[Entry] = deque()
        self.subscriptions: dict[tuple[int, str], Subscription] = {}
        self.floor = floor
        """The newest position dropped: continuity holds from here on."""
        self.last_used = 0.0

    def drop_oldest(self) -> None:
        self.floor = self.entries.popleft().position

    def find(self, serial: str) -> tuple[Entry, int] | None:
        position = position_of(serial)
        for entry in reversed(self.entries):
            if entry.position <= position:
                if entry.position != position or entry.target is not None:
                    return None
                serials = [message.serial for message in entry.messages]
                return (entry, serials.index(serial)) if serial in serials else None
        return None

    def versions(self, serial: str) -> list[Message]:
        """Oldest first; of a message never updated just itself."""
        changes = [entry for entry in self.entries if entry.target == serial and entry.after is not None]
        found = [entry.after for entry in changes if entry.after is not None]
        return [changes[0].before, *found] if changes and changes[0].before is not None else self._whole(serial)

    def replay(self, entries: Iterator[Entry], subscription: Subscription) -> list[ProtocolMessage]:
        """Each message once and whole, at the position where this subscriber first hears of it."""
        frames = []
        for entry in entries:
            messages = entry.messages if entry.target is None else self._whole(entry.target)
            fresh = [message for message in messages if message.serial not in subscription.seen]
            if entry.target is not None or any(message.action != MessageAction.CREATE for message in fresh):
                subscription.seen.update(message.serial for message in fresh if message.serial is not None)
            if fresh:
                frames.append(frame(entry, fresh, subscription.name))
        return frames

    def _whole(self, serial: str) -> list[Message]:
        found = self.find(serial)
        return [found[0].messages[found[1]]] if found else []

    def after(self, position: str) -> Iterator[Entry]:
        return (entry for entry in self.entries if entry.position > position)

    def rewind(self, text: str, limit: int, now: float) -> list[Entry]:
        """The newest entries that `rewind` asks for: a count, or a time (`15s`, `2m`). Raises Refused 40000."""
        found = re.fullmatch(r"(\d+)([sm]?)", text)
        if found is None:
            raise refuse(40000, f"Unable to parse rewind {text!r}; use a number of messages, or a time as 15s or 2m")
        amount, unit = int(found[1]), found[2]
        created = (entry for entry in reversed(self.entries) if entry.target is None)
        wanted: list[Entry] = []
        count = limit if unit else min(amount, limit)
        since = now - amount * (60 if unit == "m" else 1) if unit else float("-inf")
        for entry in created:
            if entry.at < since or count < len(entry.messages):
                break
            count -= len(entry.messages)
            wanted.append(entry)
        return wanted[::-1]

    def history(self, page: Page) -> tuple[list[Message], str | None]:
        """A page, and the cursor for the next one, or None when this is the last."""
        found: list[Message] = []
        entries = self.entries if page.forwards else reversed(self.entries)
        for entry in entries:
            if entry.target is not None or not _within(entry, page):
                continue
            for message in entry.messages if page.forwards else reversed(entry.messages):
                serial = message.serial or ""
                if page.cursor is not None and (serial <= page.cursor if page.forwards else serial >= page.cursor):
                    continue
                if len(found) == page.limit:
                    return found, found[-1].serial
                found.append(standalone(message, entry))
        return found, None


def _within(entry: Entry, page: Page) -> bool:
    return not (
        (page.start is not None and entry.timestamp < page.start)
        or (page.end is not None and entry.timestamp > page.end)
        or (page.until is not None and entry.position > position_of(page.until))
        or (page.hidden_since is not None and entry.timestamp >= page.hidden_since)
    )


def frame(entry: Entry, messages: list[Message], name: str) -> ProtocolMessage:
    return ProtocolMessage(
        action=wire.Action.MESSAGE,
        id=entry.id,
        channel=name,
        channel_serial=entry.position,
        connection_id=entry.connection_id,
        timestamp=entry.timestamp,
        messages=messages,
    )


def standalone(message: Message, entry: Entry) -> Message:
    """Returns the message with the fields that its frame would have supplied."""
    index = int((message.serial or ":0").rpartition(":")[2])
    return msgspec.structs.replace(
        message,
        id=message.id or f"{entry.id}:{index}",
        connection_id=entry.connection_id,
        timestamp=message.timestamp or entry.timestamp,
    )


class Channels:
    """All channels, with the bounds they share and the ids seen in the last two minutes."""

    def __init__(self, serials: Serials, bounds: Bounds) -> None:
        self.serials = serials
        self.bounds = bounds
        self._channels: dict[str, Channel] = {}
        self._order: deque[tuple[float, Channel, Entry]] = deque()
        self._ids: OrderedDict[tuple[str, str], tuple[float, tuple[str, ...]]] = OrderedDict()
        self._discarded = ""
        self._bytes = 0

    def get(self, name: str) -> Channel:
        found = self._channels.get(name)
        if found is None:
            found = self._channels[name] = Channel(name, self._discarded)
        return found

    def peek(self, name: str) -> Channel | None:
        return self._channels.get(name)

    def __iter__(self) -> Iterator[Channel]:
        return iter(list(self._channels.values()))

    def __len__(self) -> int:
        return len(self._channels)

    def seen(self, channel: str, key: str, now: float) -> tuple[str, ...] | None:
        """The serials of the first publish with this key, for two minutes."""
        found = self._ids.get((channel, key))
        return found[1] if found is not None and found[0] > now - self.bounds.dedupe else None

    def remember(self, channel: str, key: str, serials: tuple[str, ...], now: float) -> None:
        ids, oldest = self._ids, now - self.bounds.dedupe
        ids[(channel, key)] = (now, serials)
        ids.move_to_end((channel, key))
        while len(ids) > self.bounds.total_ids or next(iter(ids.values()))[0] <= oldest:
            ids.popitem(last=False)

    def store(self, channel: Channel, entry: Entry) -> None:
        channel.entries.append(entry)
        self._order.append((entry.at, channel, entry))
        self._bytes += entry.size
        if len(channel.entries) > self.bounds.channel_messages:
            channel.drop_oldest()
        self.expire(entry.at)

    def expire(self, now: float) -> None:
        """Drops what is older than the history's time to live, or above the bound on all of it."""
        order, bounds = self._order, self.bounds
        while order and (
            order[0][0] <= now - bounds.ttl or len(order) > bounds.total_messages or self._bytes > bounds.total_bytes
        ):
            _, channel, entry = order.popleft()
            self._bytes -= entry.size
            if channel.entries and channel.entries[0] is entry:
                channel.drop_oldest()

    def discard_idle(self, now: float) -> None:
        """Forgets channels that hold nothing and that nobody has used for a minute."""
        for channel in self:
            if not channel.entries and not channel.subscriptions and channel.last_used < now - 60.0:
                self._discarded = max(self._discarded, channel.floor)
                del self._channels[channel.name]


def routed_name(name: str) -> str:
    """The name a channel is known by, whatever its qualifier. Raises Refused 40010."""
    routed = split_qualifier(name)[0] if name.startswith("[") else name
    if not routed or routed[0] in ":[":
        raise refuse(40010, f"Invalid channel name: {name!r}")
    return routed


def split_qualifier(name: str) -> tuple[str, dict[str, str]]:
    """`[?rewind=1]chat` -> (`chat`, {rewind: 1}); other qualifiers are stripped for routing."""
    if not name.startswith("["):
        return name, {}
    qualifier, bracket, rest = name[1:].partition("]")
    if not bracket:
        return name, {}
    _, _, query = qualifier.partition("?")
    params = dict(part.partition("=")[::2] for part in query.split("&") if part)
    return rest, params
