"""The state of one response: phases, fields, and queries."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from processor.core.decoding import Decoding
from processor.core.items import NOTHING, Gap, Item, PartText, Raw, Run, Start, Token
from processor.core.ledger import Runs
from topics.codec import TokenRecord
from topics.records import EndReason, JsonObject, Status

if TYPE_CHECKING:
    from processor.core.response import Response


NO_ENTRIES: Final[Any] = MappingProxyType({})
"""What `NOTHING` is for lists, for dicts."""


class Phase(Enum):
    AWAITING_START = auto()
    OPEN = auto()
    ENDING = auto()
    FINISHED = auto()


TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    Phase.AWAITING_START: frozenset({Phase.OPEN, Phase.FINISHED}),
    Phase.OPEN: frozenset({Phase.ENDING, Phase.FINISHED}),
    Phase.ENDING: frozenset({Phase.FINISHED}),
    Phase.FINISHED: frozenset(),
}


class End(msgspec.Struct, frozen=True):
    """A decided end: the relay ends the response with a stop of number `seq`, after everything accepted below it."""

    reason: str
    """An `EndReason`, or one that a later version decided."""
    seq: int

    @property
    def status(self) -> Status:
        try:
            return EndReason(self.reason).status
        except ValueError:
            return Status.FAILED


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """A request to end the response, made at `asked_at`. Its producer has `cancel_timeout` from `since` on (monotonic
    seconds).
    """

    asked_at: float
    since: float
    read_at: float
    """When the relay read it: much later than `since` only if the relay has just started."""
    repeated: bool = False
    """Whether another one for the same response came before it."""


class Early(msgspec.Struct, gc=False):
    record: TokenRecord
    raw: Raw


def is_within(gaps: Sequence[tuple[int, int]], seq: int) -> bool:
    """Returns True if one of the gaps, which rise, includes the number."""
    index = bisect_right(gaps, seq, key=_first_of_gap)
    return index > 0 and seq <= gaps[index - 1][1]


def _first_of_gap(gap: tuple[int, int]) -> int:
    return gap[0]


class Timed:
    """A response as its timers know it."""

    __slots__ = ("response",)

    def __init__(self, response: "Response") -> None:
        self.response: Response | None = response


class Published(msgspec.Struct, frozen=True):
    """What the channel's history shows as published of a response.

    `lengths` are the ends of its text frames per part, in UTF-16 code units.
    """

    seq_end: int
    lengths: dict[str, int]
    stopped: bool


class ResponseState:
    """The fields of one response, and queries about them. Only `Response`, which derives from it, changes them."""

    __slots__ = (
        "acked_at",
        "acked_offset",
        "acked_seq",
        "asked_history",
        "begun_offset",
        "cancel",
        "channel",
        "covered_mark",
        "covered_seq",
        "decided_end",
        "decided_gaps",
        "decoding",
        "early",
        "early_bytes",
        "ended_by_relay",
        "error",
        "finished_at",
        "first_token_at",
        "frame_text",
        "gap_since",
        "gaps",
        "history",
        "id",
        "in_flight",
        "last_active",
        "last_offset",
        "metadata",
        "next_seq",
        "parts",
        "phase",
        "queue",
        "queued_bytes",
        "reason",
        "record_offset",
        "refused",
        "runs",
        "saved_mark",
        "saved_seq",
        "size",
        "snapshot_armed",
        "start_consumed",
        "start_digest",
        "started_at",
        "status",
        "timed",
        "to_obey",
        "tokens",
        "undetermined",
        "unnumbered",
        "unpaired",
        "updated_at",
        "usage",
        "waiting_in_lane",
    )

    def __init__(self, response_id: str, now: float) -> None:
        self.id = response_id
        self.phase = Phase.AWAITING_START
        self.channel = ""
        self.metadata: JsonObject | None = None
        self.start_digest = ""
        self.unnumbered = False
        self.decoding: Decoding | None = None
        """The decoding of a response in OpenAI's format."""
        # Intake
        self.next_seq = 0
        self.early: dict[int, Early] = NO_ENTRIES
        self.early_bytes = 0
        self.gap_since: float | None = None
        self.last_active = now
        self.last_offset = -1
        self.unpaired: Token | None = None
        self.undetermined: Token | None = None
        """A token whose unpaired surrogate was replaced by a decision that is not durable yet."""
        self.size = 0
        self.start_consumed = now
        # Waiting and in flight
        self.queue: deque[Item] = NOTHING
        self.queued_bytes = 0
        self.in_flight = False
        self.waiting_in_lane = False
        self.frame_text: int | None = None
        """A smaller limit of encoded text per frame, learned from a refusal as too large."""
        self.asked_history = True
        self.history: Published | None = None
        # Acknowledged
        self.parts: tuple[PartText, ...] = ()
        self.acked_seq = -1
        self.acked_offset = -1
        self.acked_at: float | None = None
        """The time of its newest frame; None before the first frame of this owner."""
        self.tokens = 0
        self.gaps: list[tuple[int, int]] = NOTHING
        self.begun_offset = -1
        """All records from here on were read after its start, by a predecessor too."""
        self.started_at = 0
        self.first_token_at: int | None = None
        self.updated_at = 0
        self.finished_at: int | None = None
        self.status = Status.STREAMING
        self.reason: str | None = None
        self.usage: JsonObject | None = None
        self.error: JsonObject | None = None
        self.cancel: Cancel | None = None
        """The first cancel that counts for it."""
        self.ended_by_relay = False
        """Whether its stop, once acknowledged, is one that the relay made: no record has its number."""
        self.refused = False
        """Whether its channel refuses it permanently. Its remaining records go to the dead letters."""
        # Decided and durable
        self.decided_gaps: list[tuple[int, int]] = NOTHING
        """Gaps that are given up and not yet acknowledged, by number."""
        self.to_obey: dict[int, int] = NO_ENTRIES
        """The gaps, by first number, that a predecessor decided and the sequence has not reached yet."""
        self.decided_end: End | None = None
        self.record_offset: int | None = None
        self.covered_seq = -1
        self.saved_seq = -1
        """What its newest record covers, committed or not."""
        self.covered_mark = -1
        self.saved_mark = -1
        """The same two, in the unit of `mark`."""
        self.snapshot_armed = False
        self.timed: Timed | None = None
        self.runs = Runs()

    def __repr__(self) -> str:
        return (
            f"<Response {self.id!r} {self.phase.name} next={self.next_seq} acked={self.acked_seq} "
            f"covered={self.covered_seq} queue={len(self.queue)} early={len(self.early)} decided={self.decided_end}>"
        )

    def part(self, name: str) -> PartText | None:
        for part in self.parts:
            if part.name == name:
                return part
        return None

    @property
    def mark(self) -> int:
        """What a record made now would cover, in the unit of `runs`: a sequence number; for OpenAI's format an offset
        of the log.
        """
        return self.acked_seq if self.decoding is None else self.decoding.place(self.acked_seq).offset - 1

    @property
    def unsaved(self) -> bool:
        """Whether a record made now would cover more than the newest one."""
        return self.acked_seq >= 0 and (self.acked_seq > self.saved_seq or self.mark > self.saved_mark)

    @property
    def sendable(self) -> bool:
        """Whether the first waiting item may be published now."""
        if not self.queue or self.phase is Phase.AWAITING_START:
            return False
        head = self.queue[0]
        if type(head) is Run:
            return True
        if type(head) is Token:
            return head is not self.unpaired and head is not self.undetermined
        return type(head) is Start or head.durable  # type: ignore[union-attr]  # Gap and Stop have it

    @property
    def wants_turn(self) -> bool:
        """Whether it is to be added to its lane."""
        return not self.waiting_in_lane and not self.in_flight and self.sendable

    @property
    def nothing_unknown(self) -> bool:
        """Whether no more of the response can be published than was read: its channel's history was asked, and shows
        no more.
        """
        return self.asked_history and (self.history is None or self.next_seq > self.history.seq_end)

    @property
    def live(self) -> bool:
        """Whether the response has started, and its end is neither read nor decided."""
        return self.phase is Phase.OPEN and self.decided_end is None

    @property
    def waits_for_records(self) -> bool:
        """Whether everything that may be published is acknowledged, while more is held until other records arrive."""
        if self.in_flight or self.phase not in {Phase.AWAITING_START, Phase.OPEN}:
            return False
        if self.queue and self.queue[0] is not self.unpaired:
            return False
        return bool(self.early) or self.unpaired is not None

    @property
    def extends_gap(self) -> bool:
        """Whether the next number, if skipped, belongs to the last waiting gap."""
        tail = self.queue[-1] if self.queue else None
        return type(tail) is Gap and tail.raw is not None and tail.last == self.next_seq - 1

    def in_known_gap(self, seq: int) -> bool:
        return is_within(self.gaps, seq) or is_within(self.decided_gaps, seq)

    @property
    def takes_plain_tokens(self) -> bool:
        """Whether its next token, if plain, can simply be appended: no record is held, nothing is decided, and no
        unpaired surrogate waits.
        """
        return (
            self.phase is Phase.OPEN
            and self.decoding is None
            and not self.early
            and not self.decided_gaps
            and self.decided_end is None
            and self.unpaired is None
        )

    def waits_since_start(self) -> Iterator[Raw]:
        """Returns the records that came after its start and are held until others arrive."""
        if self.phase is Phase.AWAITING_START:
            return iter(())
        raws = [early.raw for early in self.early.values()]
        if self.unpaired is not None:
            raws += self.unpaired.raws()
        return (raw for raw in raws if raw.offset > self.begun_offset)

    def waiting_raws(self) -> Iterator[Raw]:
        """Returns the unacknowledged records in sequence order, the early ones last."""
        for item in self.queue:
            if isinstance(item, Run | Token):
                yield from item.raws()
            elif not isinstance(item, Gap) and item.raw is not None:
                yield item.raw
        for seq in sorted(self.early):
            yield self.early[seq].raw
