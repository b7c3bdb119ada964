"""The items of a response's queue (start, tokens in runs or single, gaps, stop), and the texts of its parts."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec

from processor.core.limits import PENDING_COST
from processor.core.text import utf16_length
from topics.limits import MAX_TIME_MS
from topics.records import JsonObject, Reason, Status

T = TypeVar("T")
NOTHING: Final[Any] = ()
"""Takes the place of a list or deque without items: an empty one takes memory in every open response."""


def appended(items: list[T], item: T) -> list[T]:
    """Appends the item, and returns the list: `items` itself unless that is `NOTHING`."""
    if not items:
        return [item]
    items.append(item)
    return items


class Raw(Protocol):
    """A consumed record, as the Kafka client gives it; kept unchanged for the dead letters."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int | None:
        """Kafka's timestamp in milliseconds: any 64-bit number that its producer wrote; None in batches of the first
        format.
        """
        ...

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Any: ...


def time_of(ts: int | None, raw: Raw) -> int:
    """Returns the record's time in milliseconds: its own if it has one, else Kafka's if that is a time."""
    return time_or_zero(raw.timestamp) if ts is None else ts


def time_or_zero(ms: int | None) -> int:
    """Returns `ms`, or 0 if a store does not accept it.

    Kafka has -1 for a record without a time, its first batch format has no times, and it accepts any 64-bit number.
    """
    return ms if ms is not None and 0 <= ms <= MAX_TIME_MS else 0


class Refused:
    """A record that must not be decoded and goes to the dead letters at once. It never holds the record's value.

    It may represent several records, up to the offset `last`.
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
    """Returns the offset after the last record, or after the last one that it represents."""
    newest = records[-1]
    return (newest.last if isinstance(newest, Refused) else newest.offset) + 1


def cost(raw: Raw) -> int:
    """Returns the cost in bytes of a consumed record while it is kept."""
    return len(raw.value or b"") + PENDING_COST


class PartText:
    """A part's acknowledged text and its length; also its hash, once part of the text is evicted."""

    __slots__ = (
        "_hash",
        "_pieces",
        "_utf8",
        "acknowledged",
        "evicted",
        "framed",
        "held",
        "info",
        "kind",
        "length",
        "name",
    )

    def __init__(self, name: str, kind: str, info: JsonObject | None) -> None:
        self.name = name
        self.kind = kind
        self.info = info
        self.framed = False
        """Whether the part's first frame was built, which alone carries `partInfo`."""
        self._utf8 = b""
        """The text in memory without its newest pieces. A string takes up to four bytes for each of its characters."""
        self._pieces: list[str] = NOTHING
        self.held = 0
        """Characters in memory."""
        self.acknowledged = False
        """Whether a token of the part, even an empty one, was acknowledged. Only then is the part in a record."""
        self.length = 0
        """UTF-16 code units acknowledged."""
        self._hash: hashlib._Hash | None = None
        """The hash of the whole text; None while all of it is in memory, because a hash takes more memory than most
        texts.
        """
        self.evicted = False
        """Whether the text up to the newest durable record is evicted."""

    def append(self, text: str) -> None:
        self.acknowledged = True
        if text:
            self._pieces = appended(self._pieces, text)
            self.held += len(text)
            self.length += utf16_length(text)
            if self._hash is not None:
                self._hash.update(text.encode())

    def note_framed(self) -> None:
        """Notes that its first frame was built, or is published."""
        self.framed = True

    def take_back_frame(self) -> None:
        """Notes that its first frame was refused: the next one takes its place."""
        self.framed = False

    def text(self) -> str:
        return self._whole().decode()

    def _whole(self) -> bytes:
        if self._pieces:
            self._utf8 += "".join(self._pieces).encode()
            self._pieces = NOTHING
        return self._utf8

    def sha256(self) -> str:
        """Returns the hash of the text in UTF-8, as hexadecimal digits."""
        whole = self._hash if self._hash is not None else hashlib.sha256(self._whole())
        return whole.hexdigest()

    def restore(self, text: str) -> None:
        """Restores the text of a durable record, after a takeover."""
        self.note_framed()
        self.append(text)

    def evict(self) -> int:
        if self._hash is None:
            self._hash = hashlib.sha256(self._whole())
        freed, self.held = self.held, 0
        self._utf8, self._pieces = b"", NOTHING
        self.evicted = True
        return freed

    def read_back(self, text: str) -> int:
        self._utf8 = text.encode() + self._utf8
        self.held += len(text)
        self.evicted = False
        return len(text)


class Token(msgspec.Struct, gc=False):
    """One accepted token, or several that share the halves of a surrogate pair and therefore travel together."""

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
    """The encoded bytes that a frame of this token may carry, learned from refusals of its own frames as too large.

    It belongs to the token, not to the response: a successor that is refused the same way cuts in the same places.
    """

    @property
    def count(self) -> int:
        return 1 + len(self.joined)

    def raws(self) -> tuple[Raw, ...]:
        return (self.raw, *self.joined)


class Run(msgspec.Struct):
    """Plain tokens of one part with consecutive numbers, kept as columns.

    Each text fits into any frame and has no unpaired surrogate; the records' offsets rise.
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
        """Splits off the first `count` tokens as a run of their own; the rest remains. `count` is less than all."""
        records = self.records[:count]
        held = sum([cost(raw) for raw in records])
        taken = Run(self.seq, self.part, self.texts[:count], self.stamps[:count], records, held)
        del self.texts[:count], self.stamps[:count], self.records[:count]
        self.seq += count
        self.cost -= taken.cost
        return taken

    def only_token(self) -> "Token":
        """Returns the only token of the run, for separate treatment."""
        assert len(self.texts) == 1, "a run of one"
        return Token(self.seq, self.seq, self.part, self.texts[0], self.stamps[0], self.records[0])


class Start(msgspec.Struct, gc=False):
    raw: Raw | None


class Gap(msgspec.Struct, gc=False):
    """The sequence numbers `first`..`last`, which never arrived. Published only once `durable`."""

    first: int
    last: int
    durable: bool
    raw: Raw | None = None
    """The record whose number is skipped, if the log itself shows that it is unusable."""


class Stop(msgspec.Struct, gc=False):
    """The end of a response. `raw` is None for a stop that the relay made, which is published only once `durable`."""

    seq: int
    reason: str
    status: Status
    durable: bool
    raw: Raw | None = None


Item = Run | Token | Start | Gap | Stop


def digest_of(raw: Raw) -> str:
    """Returns 128 bits of the SHA-256 of a record's value, in hexadecimal."""
    return hashlib.sha256(raw.value or b"").hexdigest()[:32]
