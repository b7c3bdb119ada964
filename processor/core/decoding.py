"""How far one response in OpenAI's format is decoded, and how far a record made of it now covers its log.

One record of the log gives any number of token events, and some change the decoder's state alone. So the place that a
record of the response covers is an offset, the number of events taken of the record there, and the state before it:
whoever reads the log from that offset on repeats nothing and misses nothing.
"""

from collections import deque
from typing import Any, Final

import msgspec

from processor.core.items import Raw
from topics.openai_state import State
from topics.records import JsonObject

_NOTHING: Final = State()


class Place(msgspec.Struct, frozen=True):
    """Records below `offset` are covered, and the first `events` token events of the one there; `state` is that before it."""

    offset: int
    events: int
    state: State


class Pending(msgspec.Struct, gc=False):
    """A record of which not every token event is acknowledged. `state` is that before it, `first` and `last` its events' numbers."""

    offset: int
    first: int
    last: int
    state: State
    cost: int
    """Bytes counted for a state that only this record keeps in memory."""


class Share:
    """Stands for a record in all its token events but the last, which keeps it. Without `original` there is no record."""

    __slots__ = ("key", "offset", "original", "timestamp")
    value = None
    headers: Any = None

    def __init__(self, original: Raw | None, offset: int, timestamp: int | None) -> None:
        self.original = original
        self.offset = offset
        self.timestamp = timestamp
        self.key = None if original is None else original.key


class Decoding:
    """Of one response. `read` notes each of its records, in the order of the log."""

    __slots__ = ("closed", "end_first", "last_time", "next_offset", "pending", "size", "skip", "state", "still_since")

    def __init__(self, offset: int, state: State = _NOTHING, skip: int = 0, last_time: int | None = None) -> None:
        self.state = state
        self.next_offset = offset
        """Records below it are in the state."""
        self.skip = skip
        """Events of the next record that were acknowledged before a takeover."""
        self.pending: deque[Pending] = deque()
        self.size = 0
        """The most bytes that a state took in a record so far."""
        self.last_time = last_time
        """Kafka's timestamp of the newest record."""
        self.still_since: float | None = None
        """Since when every choice seen has finished, and nothing came."""
        self.closed: int | None = None
        """Decided: the response ended, as nothing came after the record at this offset."""
        self.end_first: int | None = None
        """The number of the first event of that end, once it is applied."""

    def note(self, raw: Raw, first: int, events: int, after: State) -> int:
        """Notes a record that gives `events` events, the first of number `first`. Returns the bytes that keeping it costs."""
        before, changed = self.state, after is not self.state
        cost = encoded_size(before) if events and self.pending and self.pending[-1].state is not before else 0
        if events:
            self.pending.append(Pending(raw.offset, first, first + events - 1, before, cost))
        self.state = after
        self.next_offset = raw.offset + 1
        self.last_time = raw.timestamp
        self.skip = 0
        if changed:
            self.size = max(self.size, encoded_size(after))
        return cost

    def acknowledged(self, seq: int) -> int:
        """Forgets the records whose events are acknowledged up to `seq`. Returns the bytes that frees."""
        freed = 0
        while self.pending and self.pending[0].last <= seq:
            freed += self.pending.popleft().cost
        return freed

    def place(self, seq: int) -> Place:
        """What a record covers that holds the events up to number `seq`."""
        for pending in self.pending:
            if pending.last > seq:
                return Place(pending.offset, max(0, seq - pending.first + 1), pending.state)
        events = self.skip if self.end_first is None else max(0, seq - self.end_first + 1)
        return Place(self.next_offset, events, self.state)

    def saved(self, seq: int) -> JsonObject:
        """What a record keeps of it, for a successor."""
        place = self.place(seq)
        kept: JsonObject = {"at": place.offset, "events": place.events, "state": msgspec.to_builtins(place.state)}
        return kept if self.closed is None else {**kept, "closed": self.closed}


def restored(saved: JsonObject, last_time: int) -> Decoding:
    """Raises ValueError where `saved` is not what a record keeps."""
    state = msgspec.convert(saved["state"], State)
    decoding = Decoding(int(saved["at"]), state, int(saved["events"]), last_time)
    decoding.size = encoded_size(state)
    decoding.closed = saved.get("closed")
    return decoding


def encoded_size(state: State) -> int:
    return len(msgspec.json.encode(state))
