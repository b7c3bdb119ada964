"""The state of one response: its phases, its fields, and what can be asked of them."""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING

import msgspec

from processor.core.decoding import Decoding
from processor.core.items import Gap, Item, PartText, Raw, Run, Start, Token
from processor.core.ledger import Runs
from topics.codec import TokenRecord
from topics.records import EndReason, JsonObject, Status

if TYPE_CHECKING:
    from processor.core.response import Response


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
    """A decided end: the relay closes the response with a stop of number `seq`, after all that was accepted below it."""

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
    """A request to end the response, made at `asked_at`. Its producer has `cancel_timeout` from `since` on (monotonic seconds)."""

    asked_at: float
    since: float


class Early(msgspec.Struct, gc=False):
    record: TokenRecord
    raw: Raw


def is_within(gaps: Sequence[tuple[int, int]], seq: int) -> bool:
    """Whether one of the gaps, which rise, holds the number."""
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
    """What the channel's history says was published of a response.

    `lengths` are the ends of its text frames per part, in UTF-16 code units.
    """

    seq_end: int
    lengths: dict[str, int]
    stopped: bool


class ResponseState:
    """What is known of one response, and questions about it. Only `Response`, which derives from it, changes it."""

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
        "metadata_size",
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
        "seqless",
        "size",
        "snapshot_armed",
        "start_consumed",
        "start_digest",
        "started_at",
        "status",
        "timed",
        "to_obey",
        "tokens",
        "torn",
        "undetermined",
        "updated_at",
        "usage",
        "waiting_in_lane",
    )

    def __init__(self, response_id: str, now: float) -> None:
        self.id = response_id
        self.phase = Phase.AWAITING_START
        self.channel = ""
        self.metadata: JsonObject | None = None
        self.metadata_size = 0
        self.start_digest = ""
        self.seqless = False
        self.decoding: Decoding | None = None
        """Of a response in OpenAI's format."""
        # Intake
        self.next_seq = 0
        self.early: dict[int, Early] = {}
        self.early_bytes = 0
        self.gap_since: float | None = None
        self.last_active = now
        self.last_offset = -1
        self.torn: Token | None = None
        self.undetermined: Token | None = None
        """A token whose half pair was given up by a decision that is not durable yet."""
        self.size = 0
        self.start_consumed = now
        # Waiting and in flight
        self.queue: deque[Item] = deque()
        self.queued_bytes = 0
        self.in_flight = False
        self.waiting_in_lane = False
        self.frame_text: int | None = None
        """A smaller limit of encoded text per frame, learnt from a refusal as too large."""
        self.asked_history = True
        self.history: Published | None = None
        # Acknowledged
        self.parts: dict[str, PartText] = {}
        self.acked_seq = -1
        self.acked_offset = -1
        self.acked_at: float | None = None
        """When its newest frame was; None before the first of this owner."""
        self.tokens = 0
        self.gaps: list[tuple[int, int]] = []
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
        """Whether its stop, once acknowledged, is one that the relay made: its number is no record's."""
        self.refused = False
        """Its channel refuses for good: what is left of it goes to the dead letters."""
        # Decided and durable
        self.decided_gaps: list[tuple[int, int]] = []
        """Gaps given up and not yet acknowledged, by number."""
        self.to_obey: dict[int, int] = {}
        """Of those, by first number, what a predecessor decided and the sequence has not come to yet."""
        self.decided_end: End | None = None
        self.record_offset: int | None = None
        self.covered_seq = -1
        self.saved_seq = -1
        """What the newest record made of it covers, committed or not."""
        self.covered_mark = -1
        self.saved_mark = -1
        """The same two, as `mark` measures them."""
        self.snapshot_armed = False
        self.timed: Timed | None = None
        self.runs = Runs()

    def __repr__(self) -> str:
        return (
            f"<Response {self.id!r} {self.phase.name} next={self.next_seq} acked={self.acked_seq} "
            f"covered={self.covered_seq} queue={len(self.queue)} early={len(self.early)} decided={self.decided_end}>"
        )

    @property
    def mark(self) -> int:
        """What a record made now covers, as `runs` measures it: a sequence number; with OpenAI's format an offset of the log."""
        return self.acked_seq if self.decoding is None else self.decoding.place(self.acked_seq).offset - 1

    @property
    def unsaved(self) -> bool:
        """Whether a record made now covers more than the newest one."""
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
            return head is not self.torn and head is not self.undetermined
        return type(head) is Start or head.durable  # type: ignore[union-attr]  # Gap and Stop have it

    @property
    def nothing_unknown(self) -> bool:
        """Whether no more of it can be published than what was read: its channel's history was asked, and shows no more."""
        return self.asked_history and (self.history is None or self.next_seq > self.history.seq_end)

    @property
    def live(self) -> bool:
        """Whether it has started, and its end is neither read nor decided."""
        return self.phase is Phase.OPEN and self.decided_end is None

    @property
    def waits_for_records(self) -> bool:
        """Whether all of it that may be published is acknowledged, and more of it is held until other records come."""
        if self.in_flight or self.phase not in {Phase.AWAITING_START, Phase.OPEN}:
            return False
        if self.queue and self.queue[0] is not self.torn:
            return False
        return bool(self.early) or self.torn is not None

    @property
    def extends_gap(self) -> bool:
        """Whether the next number, if passed over, belongs to the gap that waits last."""
        tail = self.queue[-1] if self.queue else None
        return type(tail) is Gap and tail.raw is not None and tail.last == self.next_seq - 1

    def in_known_gap(self, seq: int) -> bool:
        return is_within(self.gaps, seq) or is_within(self.decided_gaps, seq)

    @property
    def takes_plain_tokens(self) -> bool:
        """Whether its next token, if plain, needs no more than to be appended: nothing is held, decided or torn."""
        return (
            self.phase is Phase.OPEN
            and self.decoding is None
            and not self.early
            and not self.decided_gaps
            and self.decided_end is None
            and self.torn is None
        )

    def waits_since_start(self) -> Iterator[Raw]:
        """The records that came after its start and are held until others come."""
        if self.phase is Phase.AWAITING_START:
            return iter(())
        raws = [early.raw for early in self.early.values()]
        if self.torn is not None:
            raws += self.torn.raws()
        return (raw for raw in raws if raw.offset > self.begun_offset)

    def waiting_raws(self) -> Iterator[Raw]:
        """The consumed records not acknowledged yet, in sequence order, the early ones last."""
        for item in self.queue:
            if isinstance(item, Run | Token):
                yield from item.raws()
            elif not isinstance(item, Gap) and item.raw is not None:
                yield item.raw
        for seq in sorted(self.early):
            yield self.early[seq].raw
