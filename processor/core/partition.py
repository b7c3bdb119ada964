"""The pipeline of one partition: its input is consumed records, its output frames to publish and batches to write.

The shell around it
- passes records to `consume` in offset order, and calls `tick` no later than `next_wake`;
- asks `take_woken` for channels that have something to send; for each, when the rate limiter and the connection
  permit, gets `next_frame`, publishes it and reports `done`, `refused` or `too_large`; it may retry the same frame
  without limit;
- writes what `collect` returns in one transaction with `commit_point`, and reports `committed`;
- pauses fetching while `paused`.

Its members are in three groups, which `processor.core.pipeline` documents: input (called where records are consumed),
output (called by the lanes), and durability (called where batches are written). `status` is for the gauges.
No input makes it raise. `PartitionPipeline` is not safe to share between threads.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from processor.core.cancel_outcomes import CancelOutcomes
from processor.core.chunks import ANY_FORMAT, ChunkFormat
from processor.core.counts import Counts
from processor.core.durable import restored
from processor.core.expiry import Expiry
from processor.core.framer import Frame
from processor.core.intake import Intake
from processor.core.limits import Limits
from processor.core.outflow import AskHistory, Outflow
from processor.core.reads import ReadTimes, oldest_offset
from processor.core.response import Cancel, Phase, Published, Raw, Response
from processor.core.timers import Kind, SnapshotTimes, Timers
from processor.core.write_queue import Batch, CommitPoint, WriteQueue
from topics.codec import Decoder
from topics.controls import ControlRecord, ControlsMemory
from topics.records import EndReason, ResponseRecord

REVIEW_SHARE = 1 / 8
"""The share of `FINISHED_TTL` between two requests for Kafka's end offset that only serve to forget responses."""


class PipelineStatus(msgspec.Struct, frozen=True):
    """The current contents of a partition."""

    position: int
    """The next offset to be read."""
    open_responses: int
    buffered_bytes: int
    """Cost of unsent text, early tokens, and what is not durable."""
    transcript_bytes: int
    """Characters of acknowledged text of open responses in memory."""
    in_flight: int
    """Frames sent and not answered."""


class PartitionPipeline:
    def __init__(
        self,
        decoder: Decoder,
        limits: Limits,
        chunk_format: ChunkFormat = ANY_FORMAT,
        cancels: ControlsMemory | None = None,
    ) -> None:
        """`cancels` are those of the process, which its shell reads; without them no cancel counts."""
        self._timers = Timers()
        self._snapshots = SnapshotTimes(limits.snapshot_interval)
        self._write_queue = WriteQueue(limits.finals, limits.ended)
        self._outflow = Outflow(self._write_queue, self._finished, limits.frame_bytes)
        known = ControlsMemory() if cancels is None else cancels
        self._intake = Intake(decoder, limits, self._write_queue, self._outflow, self._timers, known, chunk_format)
        self._open = self._intake.open
        self._outcomes = CancelOutcomes()
        self._expiry = Expiry(self._intake, self._write_queue, self._timers, self._open)
        self._reads = ReadTimes()
        self._paused = False
        self._restored_text = 0
        self._committed_offset = 0
        self.limits = limits

    def __repr__(self) -> str:
        return f"<PartitionPipeline position={self._intake.position} open={len(self._open)} {self._outflow!r}>"

    # Input: taking over

    def restore(
        self, entries: Iterable[tuple[int, str, ResponseRecord | None]], responses_end: int, now: float
    ) -> None:
        for offset, response_id, record in entries:
            self.take_up(offset, response_id, record, now)
        self._write_queue.responses_end = responses_end
        for response in self._open.values():
            self._outflow.adopt(response)
            self._intake.arm_idle(response, now)
            self._intake.cancels.recall_for_restored(response, now)
            response.obey_decisions()
            self._intake.chunks.close_as_decided(response, now)

    def take_up(self, offset: int, response_id: str, record: ResponseRecord | None, now: float) -> None:
        finished = self._write_queue.finished
        self.pass_over(response_id)
        if record is None:
            finished.restore_deleted(response_id, offset, now)
        elif record.finished:
            finished.restore(record, offset, now)
        else:
            finished.reopen(response_id)
            response = self._open[response_id] = restored(record, offset, now)
            self._restored_text += sum(part.held for part in response.parts)
            if self._restored_text > self.limits.transcript:
                self._restored_text -= sum(part.evict() for part in response.parts)

    def pass_over(self, response_id: str) -> None:
        if (response := self._open.pop(response_id, None)) is not None:
            self._restored_text -= sum(part.held for part in response.parts)

    def begin(self, position: int, end_offset: int, *, clean: bool, lost: bool = False) -> None:
        self._committed_offset = position
        self._intake.begin(position, 0 if clean else end_offset)
        self._write_queue.finished.begin(position, end_offset)
        for response in list(self._open.values()):
            # A log that lost its end, or began again, holds other records at the offsets beyond.
            response.bound_last_offset(max(position, end_offset))
            response.take_history(response.history, asked=clean)
            self._outflow.enqueue(response)
            if lost and response.unnumbered and response.phase is Phase.OPEN:
                self._intake.advancer.end(response, EndReason.LOST)

    # Input: what is consumed

    def consume(self, raws: Sequence[Raw], position: int, now: float) -> Sequence[Raw]:
        self._intake.consume(raws, position, now)
        self._arm_snapshots(now)
        if raws:
            self._reads.note(self._intake.position, now)
        self._expiry.expire(now)
        if not raws or self._intake.position > raws[-1].offset:
            return ()
        return [raw for raw in raws if raw.offset >= self._intake.position]

    def cancel(self, control: ControlRecord, cancel: Cancel) -> None:
        response = self._open.get(control.response_id)
        if response is not None and response.phase is not Phase.AWAITING_START:
            if control.concerns(response.channel):
                self._intake.cancels.apply(response, control, cancel)
        elif response is None and not cancel.repeated and self._write_queue.finished.get(control.response_id):
            self._outcomes.after_end(control, cancel, self._intake.counts)

    # Input: time

    def tick(self, now: float) -> None:
        self._expiry.expire(now)
        self._forget_finished(now)

    def _forget_finished(self, now: float) -> None:
        """Forgets finished responses whose time is over.

        Records that are unread in Kafka, or that producers hold while Kafka is unreachable, may repeat an ended
        response.
        Therefore the time of a finished response counts only up to a moment whose end offset has been consumed.
        """
        finished, ttl, caught_up_at = self._write_queue.finished, self.limits.finished_ttl, self._timers.caught_up_at
        away = self._expiry.unreachable_at + ttl > caught_up_at
        finished.forget(float("-inf") if away else caught_up_at, ttl, self._committed_offset)
        if finished.holds_older_than(now - ttl) and now - caught_up_at > ttl * REVIEW_SHARE:
            self._timers.ask_for_end()

    def next_wake(self) -> float | None:
        return self._timers.next_wake()

    @property
    def wants_end_offset(self) -> bool:
        return self._timers.wants_end_offset

    def end_offset(self, read_at: float, offset: int, now: float) -> None:
        self._timers.end_offset(read_at, offset)
        self._expiry.expire(now)

    def unreachable(self, now: float) -> None:
        self._expiry.unreachable_at = now

    @property
    def paused(self) -> bool:
        held = self._held_bytes
        if held > self.limits.low_water and self._intake.position <= self._intake.reread_before:
            # See `relief`: more of it may be held here than elsewhere, until a record beyond is taken.
            held -= self._intake.waiting_bytes
        self._paused = held > self.limits.buffered or (self._paused and held > self.limits.low_water)
        return (
            self._paused or self._intake.overfull or (self._write_queue.finished.overfull and self._waits_for_commits)
        )

    @property
    def _waits_for_commits(self) -> bool:
        """Whether the committed offset can advance past more ended responses without further reading."""
        return self._committed_offset < self._intake.position and not self._intake.missing_is_published

    @property
    def _held_bytes(self) -> int:
        """The cost of unsent text, early tokens, and what is not durable."""
        return self._outflow.queued_bytes + self._intake.held_bytes + self._write_queue.held_bytes

    @property
    def position(self) -> int:
        return self._intake.position

    @property
    def live_responses(self) -> int:
        return sum(response.live for response in self._open.values())

    def allow_open(self, most: int) -> None:
        self._intake.relief.most_open = most

    # Output: what is published

    def take_woken(self) -> list[str]:
        return self._outflow.take_woken()

    def waits(self, channel: str) -> bool:
        return self._outflow.waits(channel)

    def next_frame(self, channel: str, now: float) -> Frame | AskHistory | None:
        taken = self._outflow.next_frame(channel, now)
        if taken is None:
            self._arm_snapshots(now)  # what the history showed as published is acknowledged without an answer
        return taken

    def urgent(self, channel: str) -> bool:
        return self._outflow.urgent(channel)

    def history(self, channel: str, findings: Mapping[str, Published], now: float) -> None:
        self._outflow.history(channel, findings)
        self._arm_snapshots(now)

    def done(self, frame: Frame, now: float) -> None:
        self._outflow.done(frame, now)
        self._arm_snapshots(now)

    def too_large(self, frame: Frame, code: int, now: float) -> None:
        self._outflow.too_large(frame, code, now)

    def refused(self, frame: Frame, code: int, message: str, now: float) -> None:
        self._outflow.refused(frame, self._open, code, message, now)

    def _arm_snapshots(self, now: float) -> None:
        for response in self._outflow.take_changed():
            if not response.snapshot_armed and response.phase is not Phase.FINISHED:
                response.arm_snapshot(armed=True)
                self._timers.arm(self._snapshots.next(now, response.size), Kind.SNAPSHOT, response)

    def _finished(self, response: Response, now: float) -> None:
        """Handles a response that has reached its end."""
        self._intake.forget(response)
        self._outcomes.ended(response, now, self._intake.counts)
        self._write_queue.finish(response, now)
        status = str(response.status)
        counts = self._intake.counts
        counts.finished[status] = counts.finished.get(status, 0) + 1
        counts.response_seconds.append(now - response.start_consumed)

    @property
    def in_flight(self) -> int:
        return self._outflow.in_flight

    @property
    def knows_what_is_published(self) -> bool:
        if self._intake.position < self._intake.unknown_before:
            return False
        return all(response.asked_history and response.history is None for response in self._open.values())

    def read_at(self, offset: int) -> float | None:
        return self._reads.at(offset)

    def oldest_unsent_at(self) -> float | None:
        offset = oldest_offset(self._outflow.frames_in_flight(), self._open.values())
        return None if offset is None else self._reads.at(offset)

    # Durability: what is written

    @property
    def wants_write(self) -> bool:
        return self._write_queue.wants_write

    def snapshot_all(self) -> None:
        for response in self._open.values():
            self._write_queue.snapshot_due(response)
        self._write_queue.park()

    def collect(self, wall_ms: int) -> Batch:
        return self._write_queue.collect(wall_ms)

    def commit_point(self, batch: Batch, offsets: Sequence[int]) -> CommitPoint:
        return self._write_queue.commit_point(batch, offsets, self._open.values(), self._intake.position)

    def committed(self, batch: Batch, point: CommitPoint, now: float) -> None:
        self._committed_offset = point.offset
        for response in self._write_queue.committed(batch):
            self._outflow.enqueue(response)
        self._forget_finished(now)
        if self._write_queue.finished.overfull:
            self._intake.release_offset(point.offset, now)
        self._evict()

    # Durability: texts out of memory

    def _evict(self) -> None:
        """Above the budget, evicts the texts of the least recently active responses that have no change since their
        durable record.
        """
        excess = self._outflow.transcript_bytes - self.limits.transcript
        if excess <= 0:
            return
        for response in sorted(self._open.values(), key=lambda each: each.last_active):
            if response.covered_seq == response.acked_seq and self._write_queue.may_evict(response):
                excess -= self._outflow.evict(response)
                if excess <= 0:
                    return

    def texts_wanted(self) -> list[tuple[str, int]]:
        return self._write_queue.take_texts_wanted()

    def read_back(self, record: ResponseRecord) -> None:
        if (response := self._write_queue.unpark(record.response_id)) is not None:
            self._outflow.read_back(response, record)

    @property
    def lacks_texts(self) -> bool:
        return self._write_queue.parked

    # Status

    def status(self) -> PipelineStatus:
        """Returns the values of the gauges."""
        return PipelineStatus(
            position=self._intake.position,
            open_responses=len(self._open),
            buffered_bytes=self._held_bytes,
            transcript_bytes=self._outflow.transcript_bytes,
            in_flight=self._outflow.in_flight,
        )

    @property
    def open_responses(self) -> Mapping[str, Response]:
        """The open responses, by response id. Only the pipeline may change them."""
        return self._open

    def take_counts(self) -> Counts:
        return self._intake.counts.collect()
