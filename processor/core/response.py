"""One response in progress: what is accepted, what waits, what is acknowledged, and what is durable.

The phases, and the only transitions between them:

    AWAITING_START --start--> OPEN --stop accepted, or an end decided--> ENDING --stop acknowledged--> FINISHED
          |                    |                                            |
          '--no start arrives  '----------- channel refuses permanently ----'-------------------------> FINISHED
             (dead letters)
"""

from collections import deque
from collections.abc import Iterable, Sequence

from processor.core.decoding import Decoding
from processor.core.items import (
    NOTHING,
    Gap,
    Item,
    PartText,
    Raw,
    Run,
    Start,
    Stop,
    Token,
    appended,
    cost,
    time_or_zero,
)
from processor.core.limits import RECORD_OVERHEAD
from processor.core.response_intake import ReceivedResponse
from processor.core.response_state import (
    NO_ENTRIES,
    Cancel,
    Early,
    End,
    Phase,
    Published,
    Timed,
    is_within,
)
from processor.core.sizes import GAP_SIZE, encoded_size, part_size
from processor.core.text import json_length
from topics.records import EndReason, ResponseRecord

__all__ = [
    "Cancel",
    "Early",
    "End",
    "Gap",
    "Item",
    "PartText",
    "Phase",
    "Published",
    "Raw",
    "Response",
    "Run",
    "Start",
    "Stop",
    "Timed",
    "Token",
    "cost",
    "is_within",
]


class Response(ReceivedResponse):
    """One response without a durable final record. Only its own methods change its fields."""

    __slots__ = ()

    # Sending

    def wait_in_lane(self) -> None:
        self.waiting_in_lane = True

    def leave_lane(self) -> None:
        self.waiting_in_lane = False

    def take_first(self) -> Item:
        """Removes and returns the first waiting item."""
        item = self.queue.popleft()
        if not self.queue:
            self.queue = NOTHING
        return item

    def put_back(self, items: Sequence[Item]) -> None:
        """Returns items to the front of the queue."""
        if self.queue:
            self.queue.extendleft(reversed(items))
        else:
            self.queue = deque(items)

    def sent(self) -> None:
        """Notes that a frame of the response is in flight."""
        self.in_flight = True

    def landed(self) -> None:
        """Notes that the frame in flight was answered."""
        self.in_flight = False

    def limit_frame_text(self, size: int) -> None:
        """Limits its frames to `size` bytes of encoded text."""
        self.frame_text = size

    def take_history(self, published: Published | None, *, asked: bool = True) -> None:
        """Sets what its channel's history shows of it, once `asked`."""
        self.asked_history = asked
        self.history = published

    # Acknowledged

    def acknowledged_at(self, now: float) -> None:
        """Notes that its newest frame is acknowledged."""
        self.acked_at = now

    def acknowledge_start(self, start: Start) -> None:
        self.acked_seq = 0
        if start.raw is not None:
            self.acked_offset = max(self.acked_offset, start.raw.offset)

    def acknowledge_run(self, run: Run) -> None:
        self.acked_seq = run.seq_end
        self.tokens += run.count
        self.acked_offset = max(self.acked_offset, run.records[-1].offset)  # they rise
        self.updated_at = max(self.updated_at, *run.stamps)
        if self.first_token_at is None:
            self.first_token_at = run.ts
        run.part.acknowledged = True

    def acknowledge_token(self, token: Token) -> None:
        self.acked_seq = token.seq_end
        self.tokens += token.count
        self.acked_offset = max(self.acked_offset, *(raw.offset for raw in token.raws()))
        self.updated_at = max(self.updated_at, token.ts)
        if self.first_token_at is None:
            self.first_token_at = token.ts
        token.part.acknowledged = True

    def acknowledge_gap(self, gap: Gap) -> None:
        self.gaps = appended(self.gaps, (gap.first, gap.last))
        self.acked_seq = gap.last
        if gap.raw is not None:
            self.acked_offset = max(self.acked_offset, gap.raw.offset)
        else:
            self.decided_gaps.remove((gap.first, gap.last))

    def acknowledge_stop(self, stop: Stop) -> None:
        self.acked_seq = stop.seq
        self.reason, self.status = stop.reason, stop.status
        self.ended_by_relay = stop.raw is None
        if stop.raw is not None:
            self.updated_at = max(self.updated_at, self.finished_at or 0)

    def refuse(self, code: int, message: str) -> None:
        """Notes that its channel refuses it permanently: nothing that waits is sent."""
        self.queue = NOTHING
        self.refused = True
        self.reason, self.status = EndReason.UNPUBLISHABLE, EndReason.UNPUBLISHABLE.status
        self.error = {"code": str(EndReason.UNPUBLISHABLE), "message": f"{message} ({code})"}
        self.decided_gaps = NOTHING

    # Durable

    def arm_snapshot(self, *, armed: bool) -> None:
        """Whether a timer will ask for its snapshot."""
        self.snapshot_armed = armed

    def know_timers(self) -> Timed:
        """Returns the response as its timers know it."""
        if self.timed is None:
            self.timed = Timed(self)
        return self.timed

    def forget_timers(self) -> None:
        """Detaches the response from its timers: they do nothing, and keep none of its memory until they are due."""
        if self.timed is not None:
            self.timed.response = None
            self.timed = None

    def save(self) -> None:
        """Notes that a record is made of what is acknowledged."""
        self.saved_seq, self.saved_mark = self.acked_seq, self.mark
        self.runs.promise(self.saved_mark)

    def written_at(self, offset: int) -> None:
        """Notes that its newest record is at `offset` of the responses partition."""
        self.record_offset = offset

    def cover(self, seq: int, mark: int) -> None:
        """Notes that numbers up to `seq` are in a durable record. `mark` measures the same as `runs` does."""
        self.covered_seq = max(self.covered_seq, seq)
        self.covered_mark = max(self.covered_mark, mark)
        self.runs.cover(self.covered_mark)

    def make_durable(self, gaps: Iterable[tuple[int, int]], *, end: bool) -> bool:
        """Notes durable decisions: these gaps, and the end if `end`. Returns True if one may now be published that
        could not before.
        """
        changed, known = False, set(gaps)
        for item in self.queue:
            if (type(item) is Gap and not item.durable and (item.first, item.last) in known) or (
                type(item) is Stop and not item.durable and end
            ):
                item.durable = changed = True
        if changed and not any(isinstance(item, Gap | Stop) and not item.durable for item in self.queue):
            self.undetermined = None
        return changed

    def let_go(self) -> None:
        """Releases the text, after the final record is durable."""
        self.parts = ()
        self.queue = NOTHING
        self.early = NO_ENTRIES
        self.metadata = None

    def restore(self, record: ResponseRecord, offset: int) -> None:
        """Restores the response from its newest record, which is at `offset` of the responses partition."""
        relay = record.relay
        self.phase = Phase.OPEN
        self.channel = record.channel
        self.metadata = record.metadata
        self.start_digest = str(relay.get("start", ""))
        self.unnumbered = bool(relay.get("seqless", False))
        self.next_seq = record.seq + 1
        self.acked_seq = self.covered_seq = self.saved_seq = record.seq
        self.acked_offset = self.begun_offset = int(relay.get("offset", -1))
        # Numbered records may have overtaken each other: those before that offset are not all covered.
        self.last_offset = self.acked_offset if self.unnumbered else -1
        self.tokens = record.tokens
        self.gaps = [(first, last) for first, last in record.gaps] or NOTHING
        # Earlier versions wrote Kafka's timestamps as they were.
        first_token_at = record.first_token_at
        self.started_at, self.updated_at = time_or_zero(record.started_at), time_or_zero(record.updated_at)
        self.first_token_at = None if first_token_at is None else time_or_zero(first_token_at)
        self.record_offset = offset
        self.size = RECORD_OVERHEAD + json_length(record.response_id) + json_length(record.channel)
        for part in record.parts:
            text = PartText(part.part, part.kind, part.info)
            text.restore(part.text)
            self.parts = (*self.parts, text)
            self.size += part_size(text) + json_length(part.text)
        self.size += encoded_size(record.metadata) + GAP_SIZE * len(record.gaps)
        decided = relay.get("decided") or {}
        if gaps := decided.get("gaps"):
            self.decided_gaps = sorted((int(first), int(last)) for first, last in gaps)
            self.to_obey = dict(self.decided_gaps)
        if end := decided.get("end"):
            self.decided_end = End(str(end["reason"]), int(end["seq"]))
        self.covered_mark = self.saved_mark = record.seq

    def restore_decoding(self, decoding: Decoding) -> None:
        """Sets OpenAI's format, decoded so far by the predecessor."""
        self.decoding = decoding
        self.size += decoding.size
        self.covered_mark = self.saved_mark = decoding.next_offset - 1
        self.last_offset = max(self.last_offset, self.covered_mark)
