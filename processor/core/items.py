"""What waits in a response's queue: its start, its tokens in runs or one by one, gaps, its stop; and its parts' texts."""

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from processor.core.limits import PENDING_COST
from processor.core.text import utf16_length
from topics.limits import MAX_TIME_MS
from topics.records import JsonObject, Reason, Status


class Raw(Protocol):
    """A consumed record, as the Kafka client gives it; kept unchanged for the dead letters."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int | None:
        """Kafka's, in milliseconds: any 64-bit number that its producer wrote; None in batches of the first format."""
        ...

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Any: ...


def time_of(ts: int | None, raw: Raw) -> int:
    """A record's time in milliseconds: the one it gives, else Kafka's if it is a time."""
    return time_or_zero(raw.timestamp) if ts is None else ts


def time_or_zero(ms: int | None) -> int:
    """0 where a store does not take `ms`: Kafka has -1 for a record without a time, batches of the first format have none, and takes any 64-bit number."""
    return ms if ms is not None and 0 <= ms <= MAX_TIME_MS else 0


class Refused:
    """A record that is not to be looked into: it goes to the dead letters at once. Its own `value` is never there.

    It may be in the place of several, up to the offset `last`.
    """

    __slots__ = ("detail", "last", "original", "reason")
    value = None

    def __init__(self, original: Raw, reason: Reason, detail: str, last: int | None = None) -> None:
        self.original = original
        self.reason = reason
        self.detail = detail
        self.last = original.offset if last is None else last

    @property
    def offset(self) -> int:
        return self.original.offset

    @property
    def timestamp(self) -> int | None:
        return self.original.timestamp

    @property
    def key(self) -> bytes | None:
        return self.original.key

    @property
    def headers(self) -> Any:
        return self.original.headers


def end_of(records: Sequence[Raw]) -> int:
    """The offset after what the records are or are in the place of."""
    newest = records[-1]
    return (newest.last if isinstance(newest, Refused) else newest.offset) + 1


def cost(raw: Raw) -> int:
    """Bytes a consumed record counts while it is kept."""
    return len(raw.value or b"") + PENDING_COST


class PartText:
    """A part's acknowledged text, with its length kept as it grows; its hash too, once not all of it is in memory."""

    __slots__ = ("_hash", "acknowledged", "chunks", "evicted", "framed", "held", "info", "kind", "length", "name")

    def __init__(self, name: str, kind: str, info: JsonObject | None) -> None:
        self.name = name
        self.kind = kind
        self.info = info
        self.framed = False
        """Whether the part's first frame, which alone carries `partInfo`, was made."""
        self.chunks: list[str] = []
        self.held = 0
        """Characters in memory."""
        self.acknowledged = False
        """Whether a token of the part, be it empty, was acknowledged: only then is the part in a record."""
        self.length = 0
        """UTF-16 code units acknowledged."""
        self._hash: hashlib._Hash | None = None
        """Of all the text; None while it is in memory as a whole: a hash takes more of it than most texts do."""
        self.evicted = False
        """Whether the text up to the newest durable record is out of memory."""

    def append(self, text: str) -> None:
        self.acknowledged = True
        if text:
            self.chunks.append(text)
            self.held += len(text)
            self.length += utf16_length(text)
            if self._hash is not None:
                self._hash.update(text.encode())

    def text(self) -> str:
        if len(self.chunks) > 1:
            self.chunks = ["".join(self.chunks)]
        return self.chunks[0] if self.chunks else ""

    def sha256(self) -> str:
        """Of the text in UTF-8, as hexadecimal digits."""
        whole = self._hash if self._hash is not None else hashlib.sha256(self.text().encode())
        return whole.hexdigest()

    def restore(self, text: str) -> None:
        """Take up the text of a durable record, after a takeover."""
        self.framed = True
        self.append(text)

    def evict(self) -> int:
        if self._hash is None:
            self._hash = hashlib.sha256(self.text().encode())
        freed, self.held = self.held, 0
        self.chunks = []
        self.evicted = True
        return freed

    def read_back(self, text: str) -> int:
        self.chunks.insert(0, text)
        self.held += len(text)
        self.evicted = False
        return len(text)


class Token(msgspec.Struct, gc=False):
    """One accepted token, or several that share the halves of a surrogate pair and so travel together."""

    seq: int
    seq_end: int
    part: PartText
    text: str
    ts: int
    raw: Raw
    joined: tuple[Raw, ...] = ()
    sent: int = 0
    """Characters of an oversize token that are acknowledged already."""
    sent_length: int = 0
    """The same in UTF-16 code units."""
    budget: int | None = None
    """Encoded bytes a frame of this token may carry, learnt from refusals of its own frames as too large.

    Of the token, not of the response: a successor that is refused the same cuts in the same places.
    """

    @property
    def count(self) -> int:
        return 1 + len(self.joined)

    def raws(self) -> tuple[Raw, ...]:
        return (self.raw, *self.joined)


class Run(msgspec.Struct):
    """Plain tokens of one part with consecutive numbers, none in need of care: kept as columns, not one by one.

    Each text is short enough for any frame and holds no half of a surrogate pair; the records' offsets rise.
    """

    seq: int
    """Of the first token."""
    part: PartText
    texts: list[str]
    stamps: list[int]
    """The tokens' times."""
    records: list[Raw]
    cost: int = 0
    """Of all its records."""

    @property
    def seq_end(self) -> int:
        return self.seq + len(self.texts) - 1

    @property
    def count(self) -> int:
        return len(self.texts)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def ts(self) -> int:
        return self.stamps[0]

    @property
    def raw(self) -> Raw:
        return self.records[0]

    def raws(self) -> list[Raw]:
        return self.records

    def split_off(self, count: int) -> "Run":
        """Its first tokens, as a run of their own; the rest stays. `count` is less than all."""
        records = self.records[:count]
        held = sum([cost(raw) for raw in records])
        taken = Run(self.seq, self.part, self.texts[:count], self.stamps[:count], records, held)
        del self.texts[:count], self.stamps[:count], self.records[:count]
        self.seq += count
        self.cost -= taken.cost
        return taken

    def only_token(self) -> "Token":
        """The run of one token as that token, to be treated by itself from now on."""
        assert len(self.texts) == 1, "a run of one"
        return Token(self.seq, self.seq, self.part, self.texts[0], self.stamps[0], self.records[0])


class Start(msgspec.Struct, gc=False):
    raw: Raw | None


class Gap(msgspec.Struct, gc=False):
    """Sequence numbers `first`..`last` that never came. Published only once `durable`."""

    first: int
    last: int
    durable: bool
    raw: Raw | None = None
    """The record whose number is passed over, where the log itself shows that it can't be used."""


class Stop(msgspec.Struct, gc=False):
    """`raw` is None for a stop the relay made itself, which is published only once `durable`."""

    seq: int
    reason: str
    status: Status
    durable: bool
    raw: Raw | None = None


Item = Run | Token | Start | Gap | Stop
