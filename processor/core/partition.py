"""The pipeline of one partition: consumed records in; frames to publish and batches to write out.

The shell around it
- feeds what it consumed (`feed`), in offset order, and tells the time (`tick`) no later than `next_wake`;
- asks `take_woken` for channels that have something to send, and for each, when pace and connection allow, `take`s one
  frame, publishes it and reports `done`, `refused` or `too_large`; it may retry the same frame as often as it must;
- writes what `collect` gives in one transaction with `commit_point`, and reports `committed`;
- pauses fetching while `paused`.
Nothing here raises for bad input. `PartitionPipeline` is not safe to share between threads.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import orjson

from processor.core.book import Batch, Book, CommitPoint
from processor.core.durable import restored
from processor.core.finished import judge_after_end
from processor.core.framer import Frame
from processor.core.limits import MAX_EARLY_TOKENS, PENDING_COST, Limits
from processor.core.outflow import AskHistory, Outflow
from processor.core.response import Early, Phase, Published, Raw, Response, Token
from processor.core.sequencer import (
    Verdict,
    begin,
    decide_end,
    give_up_gap,
    is_start,
    judge,
    obey_decisions,
    take_stop,
    take_token,
)
from processor.core.timers import Kind, Timers
from topics.codec import Decoder, Invalid, TokenRecord
from topics.records import Event, Reason, ResponseRecord

_TOKEN: Final = str(Event.TOKEN)


class Counts(msgspec.Struct):
    """What happened since the counts were last taken. `finished` is by status."""

    consumed: int = 0
    tokens: int = 0
    duplicates: int = 0
    gaps: int = 0
    started: int = 0
    finished: dict[str, int] = {}
    response_seconds: list[float] = []
    """From reading a response's start to the acknowledgement of its end."""


class PartitionPipeline:
    def __init__(self, decoder: Decoder, limits: Limits) -> None:
        self._decode = decoder.decode
        self.limits = limits
        self._open: dict[str, Response] = {}
        self._timers = Timers()
        self._book = Book()
        self._early_bytes = 0
        self._batch_number = 0
        self._position = 0
        self._paused = False
        self._committed_offset = 0
        self._clean = True
        self._unknown_before = 0
        """Offsets below this may have been published by a predecessor that ended uncleanly."""
        self._outflow = Outflow(self._book, self._finished)
        self._counts = Counts()

    def __repr__(self) -> str:
        return f"<PartitionPipeline position={self._position} open={len(self._open)} {self._outflow!r}>"

    # Taking over

    def restore(
        self, entries: Iterable[tuple[int, str, ResponseRecord | None]], responses_end: int, now: float
    ) -> None:
        """Take up what a predecessor made durable.

        `entries` are (offset, responseId, record or None for a tombstone) of the responses partition, in order, from
        the `restore` of the committed metadata to `responses_end`. Later entries of a response replace earlier ones.
        """
        finished = self._book.finished
        for offset, response_id, record in entries:
            if record is None:
                self._open.pop(response_id, None)
                finished.restore_deleted(response_id, offset, now)
            elif record.finished:
                self._open.pop(response_id, None)
                finished.restore(record, offset, now)
            elif finished.get(response_id) is None:
                self._open[response_id] = restored(record, offset, now)
        self._book.responses_end = responses_end
        for response in self._open.values():
            self._outflow.adopt(response)
            self._arm_idle(response, now)
            obey_decisions(response)

    def begin(self, position: int, end_offset: int, *, clean: bool) -> None:
        """Consume from `position`. After an unclean end, responses met below `end_offset` may be published already."""
        self._position = position
        self._clean = clean
        self._unknown_before = 0 if clean else end_offset
        for response in self._open.values():
            response.asked_history = clean
            self._outflow.enqueue(response)

    # Consuming

    def feed(self, raws: Sequence[Raw], position: int, now: float) -> None:
        """Take consumed records, in offset order. `position` is the next offset that will be fetched."""
        self._batch_number += 1
        self._counts.consumed += len(raws)
        decode, open_responses, limit = self._decode, self._open, self.limits.response
        batch, dumps, outflow = self._batch_number, orjson.dumps, self._outflow
        tokens = queued = 0
        for raw in raws:
            record = decode(raw.value)
            if type(record) is TokenRecord and record.event == _TOKEN and raw.key is not None:
                response = open_responses.get(record.response_id)
                # The plain path: the next token of a known part of an open response, nothing held, decided or torn.
                if (
                    response is not None
                    and record.seq == response.next_seq
                    and response.phase is Phase.OPEN
                    and not response.early
                    and not response.decided_gaps
                    and response.decided_end is None
                    and response.torn is None
                    and not record.torn
                    and (part := response.parts.get(record.part)) is not None  # type: ignore[arg-type]
                ):
                    text: str = record.text  # type: ignore[assignment]  # the decoder gives every token one
                    size = response.size + len(dumps(text)) - 2
                    if size <= limit:
                        response.size = size
                        seq = response.next_seq
                        ts = record.ts
                        response.queue.append(Token(seq, seq, part, text, raw.timestamp if ts is None else ts, raw))
                        response.next_seq = seq + 1
                        response.last_active = now
                        response.last_offset = raw.offset
                        response.runs.add(batch, raw.offset, seq)
                        cost = len(text) + PENDING_COST
                        response.queued_bytes += cost
                        queued += cost
                        tokens += 1
                        if not (response.waiting_in_lane or response.in_flight):
                            outflow.enqueue(response)
                        continue
            self._take(record, raw, now)
        self._position = max(position, raws[-1].offset + 1) if raws else max(position, self._position)
        outflow.queued_bytes += queued
        self._counts.tokens += tokens
        self._relieve_early(now)
        self._expire(now)

    def _take(self, record: TokenRecord | Invalid, raw: Raw, now: float) -> None:
        if isinstance(record, Invalid):
            self._book.dead_letter(raw, record.reason, record.detail)
            return
        if raw.key is None:
            self._book.dead_letter(raw, Reason.NO_KEY, "the record has no key; use the channel")
            return
        response = self._open.get(record.response_id)
        if response is not None:
            response.last_active = now
            response.last_offset = max(response.last_offset, raw.offset)
            if is_start(record):
                self._start(response, record, raw, now)
            else:
                self._continue(response, record, raw, now)
        elif (finished := self._book.finished.get(record.response_id)) is not None:
            self._settle(judge_after_end(finished, record, raw, _digest(raw)), raw)
        else:
            self._meet(record, raw, now)

    def _meet(self, record: TokenRecord, raw: Raw, now: float) -> None:
        """The first record of a response that is not known."""
        if not is_start(record) and record.seq is None:
            self._book.dead_letter(raw, Reason.NO_START, "the response never started")
            return
        response = Response(record.response_id, now)
        response.last_offset = raw.offset
        response.asked_history = raw.offset >= self._unknown_before
        self._open[response.id] = response
        if is_start(record):
            self._start(response, record, raw, now)
        else:
            self._hold(response, record, raw, now)

    def _start(self, response: Response, record: TokenRecord, raw: Raw, now: float) -> None:
        digest = _digest(raw)
        if response.phase is not Phase.AWAITING_START:
            if digest == response.start_digest:
                self._counts.duplicates += 1
                return
            self._book.dead_letter(raw, Reason.RESPONSE_ID_REUSED, "another start of an open response")
            if response.phase is Phase.OPEN:
                self._close(response, "response_id_reused")
            return
        begin(response, record, raw, digest)
        response.start_consumed = now
        response.runs.add(self._batch_number, raw.offset, 0)
        self._outflow.adopt(response)
        self._arm_idle(response, now)
        self._counts.started += 1
        if response.seqless:
            self._discard_early(response, Reason.INVALID, "sequence numbers in a response that leaves them out")
        self._advance(response, now)

    def _continue(self, response: Response, record: TokenRecord, raw: Raw, now: float) -> None:
        verdict = judge(response, record, raw)
        if verdict is Verdict.ACCEPTED:
            self._accept(response, record, raw)
            self._advance(response, now)
        elif verdict is Verdict.HELD:
            self._hold(response, record, raw, now)
        else:
            self._settle(verdict, raw)

    def _settle(self, verdict: Verdict | Reason, raw: Raw) -> None:
        if isinstance(verdict, Reason):
            self._book.dead_letter(raw, verdict, _DETAILS.get(verdict, ""))
        else:
            self._counts.duplicates += 1

    def _hold(self, response: Response, record: TokenRecord, raw: Raw, now: float) -> None:
        assert record.seq is not None
        response.early[record.seq] = Early(record, raw)
        response.runs.add(self._batch_number, raw.offset, record.seq)
        cost = _cost(record)
        response.early_bytes += cost
        self._early_bytes += cost
        self._watch_gap(response, now)
        if len(response.early) > MAX_EARLY_TOKENS:
            self._give_up(response, now)

    def _accept(self, response: Response, record: TokenRecord, raw: Raw) -> None:
        """Take the record whose number is next."""
        assert record.seq is not None
        response.runs.add(self._batch_number, raw.offset, record.seq)
        if record.event != _TOKEN:
            if take_stop(response, record, raw, self.limits.response) is not None:
                self._overflow(response, raw)
            else:
                self._discard_early(response, Reason.LATE, "after the end of the response")
            self._outflow.enqueue(response)
            return
        outcome = take_token(response, record, raw, self.limits.response)
        if outcome is Reason.INVALID:
            self._book.dead_letter(raw, Reason.TOO_LARGE, "a response has at most 64 parts")
        elif outcome is Reason.TOO_LARGE:
            self._overflow(response, raw)
        elif isinstance(outcome, int):
            self._counts.tokens += 1
            response.queued_bytes += outcome + PENDING_COST
            self._outflow.queued_bytes += outcome + PENDING_COST
        self._outflow.enqueue(response)

    def _overflow(self, response: Response, raw: Raw) -> None:
        self._book.dead_letter(raw, Reason.TOO_LARGE, "the response would pass MAX_RESPONSE_BYTES")
        self._close(response, "too_large")

    def _advance(self, response: Response, now: float) -> None:
        """Take early records whose turn has come, and obey decisions the sequence has come to."""
        while True:
            if (response.decided_gaps or response.decided_end) and obey_decisions(response):
                self._outflow.enqueue(response)
            if response.phase is not Phase.OPEN:
                self._discard_early(response, Reason.LATE, "after the end of the response")
                break
            for seq in [seq for seq in response.early if seq < response.next_seq]:
                late = self._release_early(response, seq)
                self._settle(Reason.LATE if response.in_known_gap(seq) else Verdict.DUPLICATE, late.raw)
            if response.next_seq not in response.early:
                break
            early = self._release_early(response, response.next_seq)
            self._accept(response, early.record, early.raw)
        response.gap_since = None
        self._watch_gap(response, now)

    def _watch_gap(self, response: Response, now: float) -> None:
        if response.early and response.gap_since is None:
            response.gap_since = now
            self._timers.arm(now + self.limits.gap_timeout, Kind.GAP, response)

    # Early records

    def _release_early(self, response: Response, seq: int) -> Early:
        early = response.early.pop(seq)
        cost = _cost(early.record)
        response.early_bytes -= cost
        self._early_bytes -= cost
        return early

    def _discard_early(self, response: Response, reason: Reason, detail: str) -> None:
        for seq in sorted(response.early):
            self._book.dead_letter(self._release_early(response, seq).raw, reason, detail)
        response.gap_since = None

    def _give_up(self, response: Response, now: float) -> None:
        """What is missing before the first early record is given up."""
        if response.phase is Phase.AWAITING_START:
            self._discard_early(response, Reason.NO_START, "the response never started")
            self._open.pop(response.id, None)
            return
        give_up_gap(response)
        self._counts.gaps += 1
        self._book.decide(response)
        self._outflow.enqueue(response)
        self._advance(response, now)

    def _relieve_early(self, now: float) -> None:
        """Early tokens that alone fill the budget would pause the partition for ever: give up the oldest gap."""
        while self._early_bytes > self.limits.low_water:
            waiting = [response for response in self._open.values() if response.early]
            self._give_up(min(waiting, key=lambda response: response.gap_since or now), now)

    def _close(self, response: Response, reason: str) -> None:
        """The relay ends the response, after what was accepted."""
        self._discard_early(response, Reason.LATE, "after the end of the response")
        decide_end(response, reason)
        self._book.decide(response)
        self._outflow.enqueue(response)

    # Time

    def tick(self, now: float) -> None:
        self._expire(now)
        self._book.finished.forget(now, self.limits.finished_ttl, self._committed_offset)

    def next_wake(self) -> float | None:
        """When `tick` is due at the latest."""
        return self._timers.next_wake()

    @property
    def wants_end_offset(self) -> bool:
        return self._timers.wants_end_offset

    @property
    def wants_position(self) -> bool:
        """Whether a timer waits for the position to reach an end offset, with or without a record."""
        return self._timers.waits_for_position

    def end_offset(self, read_at: float, offset: int, now: float) -> None:
        """The partition's end offset (as the consumer's isolation level sees it), from a request sent at `read_at`."""
        self._timers.end_offset(read_at, offset)
        self._expire(now)

    def _expire(self, now: float) -> None:
        for _, _, response in self._timers.pop_due(now):
            response.snapshot_armed = False
            self._book.snapshot_due(response)
        for deadline, kind, response in self._timers.confirmed(self._position):
            if self._open.get(response.id) is not response or response.phase is Phase.FINISHED:
                continue
            if kind is Kind.GAP:
                self._gap_expired(response, deadline, now)
            else:
                self._idle_expired(response, deadline, now)

    def _gap_expired(self, response: Response, deadline: float, now: float) -> None:
        since = response.gap_since
        if since is not None and since + self.limits.gap_timeout <= deadline:
            self._give_up(response, now)

    def _arm_idle(self, response: Response, now: float) -> None:
        self._timers.arm(now + self.limits.idle_timeout, Kind.IDLE, response)

    def _idle_expired(self, response: Response, deadline: float, now: float) -> None:
        if response.last_active + self.limits.idle_timeout > deadline:
            self._arm_idle(response, response.last_active)
            return
        while response.phase is Phase.OPEN and response.early:
            self._give_up(response, now)
        if response.phase is Phase.OPEN:
            self._close(response, "abandoned")

    # Publishing

    def take_woken(self) -> list[str]:
        """Channels that have something to send since the last call."""
        return self._outflow.take_woken()

    def take(self, channel: str, now: float) -> Frame | AskHistory | None:
        """The next frame of a channel, now in flight; or the wish for its history; or None when nothing waits."""
        return self._outflow.take(channel, now)

    def urgent(self, channel: str) -> bool:
        """Whether the channel's next frame is one that should not wait for the pace."""
        return self._outflow.urgent(channel)

    def history(self, channel: str, findings: Mapping[str, Published], now: float) -> None:
        """What the channel's history told of its responses; empty when it could not be had."""
        self._outflow.history(channel, findings)
        self._arm_snapshots(now)

    def done(self, frame: Frame, now: float) -> None:
        """The frame is acknowledged."""
        self._outflow.done(frame, now)
        self._arm_snapshots(now)

    def too_large(self, frame: Frame, now: float) -> None:
        """The frame was refused for its size: cut it smaller, or fail the response where that can't be."""
        self._outflow.too_large(frame, now)

    def refused(self, frame: Frame, code: int, message: str, now: float) -> None:
        """The channel refuses for good: its responses fail, and what is left of them goes to the dead letters."""
        self._outflow.refused(frame, self._open, code, message, now)

    def _arm_snapshots(self, now: float) -> None:
        for response in self._outflow.take_changed():
            if not response.snapshot_armed and response.phase is not Phase.FINISHED:
                response.snapshot_armed = True
                self._timers.arm(now + self.limits.snapshot_interval, Kind.SNAPSHOT, response)

    def _finished(self, response: Response, now: float) -> None:
        """A response has come to its end."""
        self._open.pop(response.id, None)
        for seq in sorted(response.early):
            self._release_early(response, seq)
        self._book.finish(response, now)
        status = str(response.status)
        self._counts.finished[status] = self._counts.finished.get(status, 0) + 1
        self._counts.response_seconds.append(now - response.start_consumed)

    # Writing

    @property
    def wants_write(self) -> bool:
        return self._book.wants_write

    def snapshot_all(self) -> None:
        """Let every open response that changed be written with the next batch."""
        for response in self._open.values():
            self._book.snapshot_due(response)
        self._book.park()

    def collect(self, wall_ms: int) -> Batch:
        return self._book.collect(wall_ms)

    def commit_point(self, batch: Batch, offsets: Sequence[int]) -> CommitPoint:
        return self._book.commit_point(batch, offsets, self._open.values(), self._position)

    def committed(self, batch: Batch, point: CommitPoint, now: float) -> None:
        """The batch is durable, and the offset with it."""
        self._committed_offset = point.offset
        for response in self._book.committed(batch):
            self._outflow.enqueue(response)
        self._book.finished.forget(now, self.limits.finished_ttl, point.offset)
        self._evict()

    # Texts out of memory

    def _evict(self) -> None:
        """Above the budget, let go of the texts of the least recently active responses that are durable as they are."""
        excess = self._outflow.transcript_bytes - self.limits.transcript
        if excess <= 0:
            return
        for response in sorted(self._open.values(), key=lambda each: each.last_active):
            if response.covered_seq == response.acked_seq and self._book.may_evict(response):
                excess -= self._outflow.evict(response)
                if excess <= 0:
                    return

    def texts_wanted(self) -> list[tuple[str, int]]:
        """(responseId, `responses` offset) of records whose text must be read back for the next record to be written."""
        return self._book.take_texts_wanted()

    def read_back(self, record: ResponseRecord) -> None:
        """The record that stands at the offset `texts_wanted` named."""
        if (response := self._book.unpark(record.response_id)) is not None:
            self._outflow.read_back(response, record)

    # What it holds

    @property
    def paused(self) -> bool:
        """Whether fetching should stop: above the budget, until half of it is free again."""
        held = self.buffered_bytes
        self._paused = held > self.limits.buffered or (self._paused and held > self.limits.low_water)
        return self._paused

    @property
    def buffered_bytes(self) -> int:
        return self._outflow.queued_bytes + self._early_bytes

    @property
    def transcript_bytes(self) -> int:
        return self._outflow.transcript_bytes

    @property
    def open_responses(self) -> int:
        return len(self._open)

    @property
    def position(self) -> int:
        return self._position

    @property
    def lacks_texts(self) -> bool:
        """Whether something that is to be written waits for a text to be read back."""
        return self._book.parked

    @property
    def settled(self) -> bool:
        """Whether nothing is in flight and nothing waits to be written."""
        return not self._outflow.in_flight and self._book.idle

    @property
    def in_flight(self) -> int:
        return self._outflow.in_flight

    def take_counts(self) -> Counts:
        counts, self._counts = self._counts, Counts()
        return counts


_DETAILS = {
    Reason.LATE: "inside an announced gap, or after the end of the response",
    Reason.INVALID: "some records of the response have sequence numbers and some have none",
    Reason.RESPONSE_ID_REUSED: "another start of a finished response",
    Reason.UNPUBLISHABLE: "the channel refused the response for good",
    Reason.NO_START: "the response never started",
}


def _digest(raw: Raw) -> str:
    return hashlib.sha256(raw.value or b"").hexdigest()[:32]


def _cost(record: TokenRecord) -> int:
    return len(record.text or "") + PENDING_COST
