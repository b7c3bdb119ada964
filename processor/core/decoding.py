"""Tracks how far a response in OpenAI's format is decoded, and how far a response record made now covers its log.

One record of the log gives any number of token events, and some records change only the decoder's state.
A response record therefore covers a position: an offset, the number of events taken from the record at that offset,
and the state before it. A reader that continues from that offset repeats nothing and misses nothing.
"""

from collections import deque
from typing import Any, Final

import msgspec

from processor.core.items import Raw
from topics.openai_state import State
from topics.records import JsonObject

_NOTHING: Final = State()


class Place(msgspec.Struct, frozen=True):
    """A covered position: all records below `offset`, and the first `events` token events of the record at `offset`.

    `state` is the decoder's state before that record.
    """

    offset: int
    events: int
    state: State


class Pending(msgspec.Struct, gc=False):
    """A record with unacknowledged token events. `state` is the state before it; `first` and `last` are the numbers
    of its events.
    """

    offset: int
    first: int
    last: int
    state: State
    cost: int
    """Bytes counted for a state that only this record keeps in memory."""


class Share:
    """Represents a record in all its token events except the last, which holds the record. Without `original` there
    is no record.
    """

    __slots__ = ("key", "offset", "original", "timestamp")
    value = None
    headers: Any = None

    def __init__(self, original: Raw | None, offset: int, timestamp: int | None) -> None:
        self.original = original
        self.offset = offset
        self.timestamp = timestamp
        self.key = None if original is None else original.key


class Decoding:
    """The decoding of one response. Call `read` for each of its records, in the order of the log."""

    __slots__ = ("closed", "end_first", "last_time", "next_offset", "pending", "size", "skip", "state", "still_since")

    def __init__(self, offset: int, state: State = _NOTHING, skip: int = 0, last_time: int | None = None) -> None:
        self.state = state
        self.next_offset = offset
        """The offset below which all records are in the state."""
        self.skip = skip
        """Events of the next record that were acknowledged before a takeover."""
        self.pending: deque[Pending] = deque()
        self.size = 0
        """The largest size in bytes of a state in a record so far."""
        self.last_time = last_time
        """Kafka's timestamp of the newest record."""
        self.still_since: float | None = None
        """The time since when every seen choice has finished and no record arrived."""
        self.closed: int | None = None
        """The decided end: no record followed the one at this offset."""
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
        """Returns the position that a response record covers if it holds the events up to number `seq`."""
        for pending in self.pending:
            if pending.last > seq:
                return Place(pending.offset, max(0, seq - pending.first + 1), pending.state)
        events = self.skip if self.end_first is None else max(0, seq - self.end_first + 1)
        return Place(self.next_offset, events, self.state)

    def saved(self, seq: int) -> JsonObject:
        """Returns what a response record stores of the decoding, for a successor."""
        place = self.place(seq)
        kept: JsonObject = {"at": place.offset, "events": place.events, "state": msgspec.to_builtins(place.state)}
        return kept if self.closed is None else {**kept, "closed": self.closed}


def restored(saved: JsonObject, last_time: int) -> Decoding:
    """Restores a stored decoding. Raises ValueError if `saved` is not one."""
    state = msgspec.convert(saved["state"], State)
    decoding = Decoding(int(saved["at"]), state, int(saved["events"]), last_time)
    decoding.size = encoded_size(state)
    decoding.closed = saved.get("closed")
    return decoding


def encoded_size(state: State) -> int:
    return len(msgspec.json.encode(state))
