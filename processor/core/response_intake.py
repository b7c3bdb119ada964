"""Changes a response by consumed records and by decisions about them."""

from bisect import insort
from collections import deque
from itertools import islice

from processor.core.decoding import Decoding
from processor.core.items import NOTHING, Gap, Item, PartText, Raw, Run, Start, Stop, Token, cost, time_of
from processor.core.limits import RECORD_OVERHEAD
from processor.core.response_state import NO_ENTRIES, TRANSITIONS, Cancel, Early, End, Phase, ResponseState
from processor.core.sizes import GAP_SIZE, encoded_size
from processor.core.text import REPLACEMENT, ends_in_high_half, join_halves, json_length, starts_with_low_half
from topics.codec import TokenRecord
from topics.records import STATUS_BY_REASON, EndReason

MAX_JOINED = 256 * 1024
"""The maximum length of a token that repeatedly ends in an unpaired surrogate; beyond it the second half is no longer
awaited.
"""


class ReceivedResponse(ResponseState):
    """The input side of a response. See `Response`."""

    __slots__ = ()

    def enter(self, phase: Phase) -> None:
        if phase not in TRANSITIONS[self.phase]:
            raise AssertionError(f"{self!r} can't become {phase.name}")
        self.phase = phase

    # Intake

    def note_read(self, offset: int, now: float) -> None:
        """Notes that a record of the response was read."""
        self.last_active = now
        self.last_offset = max(self.last_offset, offset)

    def note_number(self, batch: int, offset: int, seq: int) -> None:
        """Notes that the record at `offset` has this number and is not covered yet."""
        self.runs.add(batch, offset, seq)

    def ask_history_before(self, offset: int) -> None:
        """Notes that records below `offset` may be published already."""
        self.asked_history = self.last_offset >= offset

    def bound_last_offset(self, end: int) -> None:
        """Notes that the log has other records from `end` on."""
        self.last_offset = min(self.last_offset, end - 1)

    def begin(self, record: TokenRecord, raw: Raw, digest: str, now: float) -> None:
        """Applies the start."""
        self.enter(Phase.OPEN)
        self.channel = record.channel or ""
        self.metadata = record.metadata
        self.start_digest = digest
        self.begun_offset = raw.offset
        self.unnumbered = record.seq is None
        self.started_at = time_of(record.ts, raw)
        self.size = RECORD_OVERHEAD + json_length(self.id) + json_length(self.channel)
        self.size += encoded_size(record.metadata)
        self.next_seq = 1
        self._append(Start(raw))
        self.start_consumed = now

    def _append(self, item: Item) -> None:
        if self.queue:
            self.queue.append(item)
        else:
            self.queue = deque((item,))

    def hold(self, seq: int, early: Early) -> int:
        """Keeps an early record. Returns its cost."""
        if not self.early:
            self.early = {}
        self.early[seq] = early
        held = cost(early.raw)
        self.early_bytes += held
        return held

    def release(self, seq: int) -> Early:
        """Removes and returns an early record."""
        early = self.early.pop(seq)
        if not self.early:
            self.early = NO_ENTRIES
        self.early_bytes -= cost(early.raw)
        return early

    def wait_for_gap(self, since: float | None) -> None:
        """Sets since when its gap is awaited; None without a gap."""
        self.gap_since = since

    def charge(self, held: int) -> None:
        """Charges a record that is kept until it is acknowledged."""
        self.queued_bytes += held

    def discharge(self, held: int) -> int:
        """Removes the cost of records that are no longer kept. Returns how much of it was charged."""
        freed = min(held, self.queued_bytes)
        self.queued_bytes -= freed
        return freed

    def add_token(self, record: TokenRecord, raw: Raw, part: PartText, size: int) -> None:
        """Queues the next token. `size` is its size in the record."""
        self.size += size
        if part not in self.parts:
            self.parts = (*self.parts, part)
        self._append_token(record, raw, part)
        self.next_seq += 1

    def add_stop(self, record: TokenRecord, raw: Raw, size: int) -> None:
        """Queues the producer's stop."""
        self.size += size
        self.replace_unpaired()
        self.queue_stop(record, raw, durable=True)

    def queue_stop(self, record: TokenRecord, raw: Raw, *, durable: bool) -> None:
        """Ends the response as `record` states. An end that is not durable waits until it is."""
        reason = record.reason or EndReason.STOP
        self.usage, self.error = record.usage, record.error
        self.finished_at = time_of(record.ts, raw)
        self._append(Stop(self.next_seq, reason, STATUS_BY_REASON[reason], durable=durable, raw=raw))
        self.next_seq += 1
        self.enter(Phase.ENDING)

    def skip_number(self, raw: Raw) -> None:
        """Skips the next number, whose record is unusable."""
        tail = self.queue[-1] if self.queue else None
        if self.extends_gap and isinstance(tail, Gap):
            tail.last, tail.raw = self.next_seq, raw
        else:
            self.replace_unpaired()
            self._add_gap(Gap(self.next_seq, self.next_seq, durable=True, raw=raw))
            return
        self.next_seq += 1

    def _add_gap(self, gap: Gap) -> None:
        self._append(gap)
        self.next_seq = gap.last + 1
        self.size += GAP_SIZE

    def begin_run(self, run: Run) -> None:
        """Queues a run that tokens are appended to."""
        self._append(run)

    def drop_run(self) -> None:
        """Removes the newest run, which got no token."""
        self.queue.pop()
        if not self.queue:
            self.queue = NOTHING

    def end_run(self, run: Run, began: int, *, batch: int, held: int, now: float) -> None:
        """Notes that the run has tokens from its index `began` on, which cost `held`."""
        self.size += json_length("".join(islice(run.texts, began, None)))
        self.next_seq += run.count - began
        self.last_active = now
        self.last_offset = run.records[-1].offset
        self.runs.add(batch, run.records[began].offset, self.next_seq - 1)
        self.queued_bytes += held

    # In OpenAI's format

    def decode_from(self, offset: int) -> None:
        """Sets OpenAI's format. None of the response is decoded yet."""
        self.decoding = Decoding(offset)

    def grow(self, size: int) -> None:
        """Adds `size` bytes to the size of its record."""
        self.size += size

    def hold_back(self, queued: int) -> None:
        """Holds the tokens of an end that is not durable yet, which are behind the first `queued` items, until it is."""
        if self.undetermined is None and len(self.queue) > queued:
            first = self.queue[queued]
            if type(first) is Token:
                self.undetermined = first

    # Decisions

    def note_cancel(self, cancel: Cancel) -> None:
        """Sets the first cancel that counts for the response."""
        self.cancel = cancel

    def give_up_gap(self, last: int) -> None:
        """Decides that the numbers up to `last` never arrive. The decision must be durable before it is published."""
        gap = Gap(self.next_seq, last, durable=False)
        self.replace_unpaired(determined=False)
        if not self.decided_gaps:
            self.decided_gaps = []
        insort(self.decided_gaps, (gap.first, last))  # gaps that a predecessor decided may come later in the sequence
        self._add_gap(gap)

    def decide_end(self, reason: EndReason) -> None:
        """Decides that the relay ends the response after everything accepted. The decision must be durable before it
        is published.
        """
        self.replace_unpaired(determined=False)
        self.decided_end = End(reason, self.next_seq)
        self._queue_end(self.decided_end, durable=False)

    def obey_decisions(self) -> bool:
        """Applies what a predecessor decided durably, once the sequence has reached it. Returns True if anything was
        applied.
        """
        applied = False
        while self.next_seq in self.to_obey:
            self.replace_unpaired()
            self._add_gap(Gap(self.next_seq, self.to_obey.pop(self.next_seq), durable=True))
            applied = True
        end = self.decided_end
        if end is not None and end.seq == self.next_seq and self.phase is Phase.OPEN:
            self.replace_unpaired()
            self._queue_end(end, durable=True)
            applied = True
        return applied

    def _queue_end(self, end: End, *, durable: bool) -> None:
        self._append(Stop(end.seq, end.reason, end.status, durable))
        self.error = None if end.reason == EndReason.CANCELLED else {"code": end.reason}
        self.next_seq = end.seq + 1
        self.enter(Phase.ENDING)

    # Halves of surrogate pairs

    def _append_token(self, record: TokenRecord, raw: Raw, part: PartText) -> int:
        """Queues a token, and joins it with a waiting unpaired surrogate. Returns the change in queued characters."""
        text = record.text or ""
        seq = self.next_seq
        tail = self.unpaired
        if tail is not None:
            if tail.part is part and starts_with_low_half(text) and len(tail.text) < MAX_JOINED:
                tail.text = join_halves(tail.text, text)
                tail.seq_end = seq
                tail.joined = (*tail.joined, raw)
                if not ends_in_high_half(tail.text):
                    self.unpaired = None
                return len(text)
            self.replace_unpaired()
        if starts_with_low_half(text):
            text = REPLACEMENT + text[1:]
        ts = time_of(record.ts, raw)
        token = Token(seq, seq, part, text, ts, raw)
        self._append(token)
        if ends_in_high_half(text):
            self.unpaired = token
        return len(text)

    def replace_unpaired(self, *, determined: bool = True) -> None:
        """Replaces the waiting unpaired surrogate by U+FFFD. It may be sent at once only if the log determines it."""
        if self.unpaired is not None:
            self.unpaired.text = self.unpaired.text[:-1] + REPLACEMENT
            if not determined and self.undetermined is None:  # items behind it wait with it
                self.undetermined = self.unpaired
            self.unpaired = None
