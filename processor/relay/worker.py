"""The worker of one assigned partition: takes it over, runs its pipeline, writes what must be durable, and releases it.

    TAKING_OVER --restored--> RUNNING --revoked, stop--> DRAINING --final commit--> GONE
         |                       |                          |
         '-----------------------'--- fenced, or too late --'-----> GONE, and nothing was committed

It does everything except the pipeline's decisions; the lanes are a shell of their own, created by `LanesOf`.
"""

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum, auto

import structlog

from processor.core.backoff import Backoff
from processor.core.items import end_of
from processor.core.limits import Limits
from processor.core.partition import PartitionPipeline
from processor.core.response import Cancel, Raw
from processor.core.write_queue import Batch, CommitPoint
from processor.errors import KafkaUnavailable, PartitionLost, RecordTooLarge, TokenstreamError
from processor.ports.log import PartitionWriter
from processor.relay.alarm import Alarm
from processor.relay.batch_records import BatchRecords, count_batch
from processor.relay.careful_reading import CarefulReading, OwnerActions
from processor.relay.commit_metadata import CommitMetadata
from processor.relay.parts import WorkerParts, pipeline_of
from processor.relay.takeover import beginning, read_texts_back, restore
from processor.telemetry.retry import Retry
from topics.controls import ControlRecord

log = structlog.get_logger(__name__)

WRITE_LINGER = 0.02
"""Finals and decisions wait so long for others, to share a transaction."""
IDLE_WAIT = 2.0
OFFSET_ALONE = 1.25
"""Of the snapshots' interval: an offset that moved is committed by itself then. Before, snapshots commit it with them."""
DRAIN_CHECK = 0.02
LANDING_SHARE = 0.7
"""Of the drain's time, for what is in flight to be answered; the rest is for the last transaction."""
RETRY = Backoff(first=0.2, cap=5.0)


class WorkerState(Enum):
    TAKING_OVER = auto()
    RUNNING = auto()
    DRAINING = auto()
    GONE = auto()


class PartitionWorker:
    """`run` is its task; `consume`, `drain` and `abandon` are called by the relay that owns it."""

    def __init__(
        self,
        number: int,
        parts: WorkerParts,
        writer: PartitionWriter,
        limits: Limits,
        pipeline_of: Callable[[WorkerParts, Limits], PartitionPipeline] = pipeline_of,
    ) -> None:
        self.number = number
        self._pipeline_of = pipeline_of
        self._parts = parts
        self._writer = writer
        self._clock = parts.clock
        self.pipeline = pipeline_of(parts, limits)
        self.state = WorkerState.TAKING_OVER
        self.stuck: str | None = None
        """What this partition waits for, as a sentence; None while it makes progress."""
        self._lanes = parts.lanes_of(self.pipeline, self._may_publish, self.progressed)
        self._alarm = Alarm()
        self._writing = asyncio.Lock()
        self._committed = CommitPoint(-1, 0)
        self._begun_at = -1
        self._attempts = 0
        self._careful = CarefulReading(
            OwnerActions(
                consume=self._consume,
                consume_as_usual=self.consume,
                write=self._write,
                commit_trying=self._commit_trying,
                running=lambda: self.running,
                may_publish=self._may_publish,
                may_consume=lambda: self._may_consume,
            ),
            parts.clock,
            parts.random,
        )
        self._encoding = BatchRecords(
            number,
            responses_topic=parts.responses_topic,
            dead_letters_topic=parts.dead_letters_topic,
            dead_letter_bytes=parts.dead_letter_bytes,
        )
        self._wrote_at = self._clock.monotonic()

    def __repr__(self) -> str:
        return f"<PartitionWorker {self.number} {self.state.name} {self.pipeline!r}>"

    @property
    def running(self) -> bool:
        return self.state is WorkerState.RUNNING

    @property
    def committed_offset(self) -> int:
        return self._committed.offset

    @property
    def position(self) -> int:
        """The next offset to be fetched."""
        return max(self._careful.position, self.pipeline.position)

    @property
    def paused(self) -> bool:
        """Whether fetching should stop."""
        return self.pipeline.paused or self._careful.holds

    @property
    def _may_consume(self) -> bool:
        """Whether something waits to be fed with care, and there is room for it."""
        return self._careful.holds and not self.pipeline.paused

    def progressed(self) -> None:
        """Something was read or answered. Wakes the task only where that left it something to do before it wakes by itself."""
        pipeline = self.pipeline
        due = pipeline.next_wake()
        if (
            self._may_consume
            or pipeline.wants_write
            or pipeline.wants_end_offset
            or (due is not None and due < self._alarm.due_at)
        ):
            self._alarm.ring()

    def cancel(self, control: ControlRecord, cancel: Cancel) -> None:
        """See `PipelineInput.cancel`. A takeover that begins later finds it in the memory of the process."""
        if self.state is not WorkerState.GONE:
            self.pipeline.cancel(control, cancel)
            self.progressed()

    def _may_publish(self) -> bool:
        return self.state in {WorkerState.RUNNING, WorkerState.DRAINING} and self._parts.consumer.membership.holds()

    # Taking over

    async def run(self) -> None:
        """Own the partition until it is given back. Raises PartitionLost when another owner has taken it."""
        try:
            while self.state is WorkerState.TAKING_OVER:
                await self._take_over()
                while self.running:
                    await self._turn()
                await self._writer.stop()
        except BaseException:
            self.abandon()  # cancelled or fenced: no lane of it may send any more
            raise

    async def _take_over(self) -> None:
        began = self._clock.monotonic()
        await self._retry("takeover").until_done(self._try_take_over, KafkaUnavailable, self._takeover_failed)
        if self.state is not WorkerState.TAKING_OVER:
            raise PartitionLost(f"partition {self.number} was given back while it was taken over")
        self.stuck = None
        self.state = WorkerState.RUNNING
        seconds = self._clock.monotonic() - began
        self._parts.metrics.takeovers.inc()
        self._parts.metrics.takeover_seconds.observe(seconds)
        log.info(
            "partition_taken_over",
            partition=self.number,
            offset=self._committed.offset,
            open_responses=self.pipeline.status().open_responses,
            seconds=round(seconds, 3),
        )
        self._lanes.wake()

    def _takeover_failed(self, error: KafkaUnavailable, attempt: int) -> None:
        """Raises PartitionLost where the takeover was cancelled: a client that is closed meanwhile swallows the cancellation."""
        if self.state is not WorkerState.TAKING_OVER:
            raise PartitionLost(f"partition {self.number} was given back while it was taken over") from error
        self.stuck = str(error)
        log.warning("takeover_retry", partition=self.number, attempt=attempt, cause=str(error))

    def _retry(self, operation: str) -> Retry:
        return Retry(RETRY, self._parts.random.random, self._parts.metrics.retries.labels(operation).inc)

    async def _try_take_over(self) -> None:
        parts, number = self._parts, self.number
        await self._own()
        committed = await parts.committed.read(number)
        first, end = await parts.consumer.first_offset(number), await parts.consumer.end_offset(number)
        begin = beginning(committed, first, end)
        if begin.lost:
            at = committed and committed[0]
            log.error("committed_offset_out_of_range", partition=number, committed=at, first=first, end=end)
        self.pipeline = self._pipeline_of(self._parts, self.pipeline.limits)
        self._lanes.stop()
        self._lanes = parts.lanes_of(self.pipeline, self._may_publish, self.progressed)
        responses_end = await restore(self.pipeline, parts.responses, number, begin.restore, self._clock)
        self.pipeline.begin(begin.offset, end, clean=begin.clean_after(responses_end), lost=begin.lost)
        self._committed = CommitPoint(begin.offset, begin.restore)
        self._begun_at, self._attempts = begin.offset, begin.attempts
        self._careful.take_up(begin, end)
        await self._write_batch(Batch((), ()), clean=False, keep=self._committed)
        parts.consumer.seek(number, begin.offset)

    async def _own(self) -> None:
        """Fence the predecessor, then hear from the group, after that, that the partition is still ours."""
        await self._writer.start()
        await self._parts.consumer.membership.heartbeat_after(self._clock.monotonic())

    # Running

    def consume(self, records: Sequence[Raw], position: int) -> None:
        if self.state is not WorkerState.RUNNING:
            return
        if self._careful.keep(records, position):
            self._alarm.ring()
        elif left := self._consume(records, position):
            self._parts.consumer.seek(self.number, left[0].offset)

    def _consume(self, records: Sequence[Raw], position: int) -> Sequence[Raw]:
        """Returns the records for which there is no room yet."""
        try:
            left = self.pipeline.consume(self._careful.without_poison(records), position, self._clock.monotonic())
        except Exception as error:
            if not records or records[0].offset in self._careful.poison:
                raise
            self._take_over_with_care(records, error)
            return ()
        self._lanes.wake()
        self.progressed()
        return [record for record in records if record.offset >= left[0].offset] if left else ()

    def _take_over_with_care(self, records: Sequence[Raw], error: Exception) -> None:
        """Begin again from what is durable: what the pipeline holds after an error can't be trusted."""
        first, end = records[0].offset, end_of(records)
        topic, cause = self._parts.consumer.topic, f"{type(error).__name__}: {error}"
        log.error(
            "records_failed", topic=topic, partition=self.number, offset=first, end=end, cause=cause, exc_info=error
        )
        self._careful.note_error(records, error, taken_in=self.pipeline.position > first)
        self.state = WorkerState.TAKING_OVER
        self._lanes.stop()
        self._alarm.ring()

    async def _commit_trying(self) -> None:
        """Make durable what is tried, and nothing else: what is refused of the rest must not keep that from it."""
        async with self._writing:
            if self.state in {WorkerState.RUNNING, WorkerState.DRAINING}:
                await self._write_batch(Batch((), ()), clean=False, keep=self._committed)

    async def _turn(self) -> None:
        pipeline = self.pipeline
        now = self._clock.monotonic()
        pipeline.tick(now)
        if self._careful.due:
            await self._careful.advance()
            if not self.running:
                return
        if pipeline.wants_end_offset:
            await self._read_end_offset()
        if pipeline.lacks_texts:
            await self._read_texts_back()
        self._lanes.wake()
        if self._wants_write(now):
            await asyncio.sleep(WRITE_LINGER)
            await self._write()
        if not pipeline.wants_write and not pipeline.lacks_texts and not self._may_consume:
            await self._wait(pipeline.next_wake())

    async def _wait(self, wake: float | None) -> None:
        now = self._clock.monotonic()
        wait = IDLE_WAIT if wake is None else min(IDLE_WAIT, max(0.0, wake - now))
        await self._alarm.wait(now, wait)

    def _wants_write(self, now: float) -> bool:
        due = now - self._wrote_at >= OFFSET_ALONE * self.pipeline.limits.snapshot_interval
        return self.pipeline.wants_write or (due and self.pipeline.position > self._committed.offset)

    async def _read_end_offset(self) -> None:
        read_at = self._clock.monotonic()
        try:
            end = await self._parts.consumer.end_offset(self.number)
        except KafkaUnavailable as error:
            log.info("end_offset_unavailable", partition=self.number, cause=str(error))
            self.pipeline.unreachable(self._clock.monotonic())
            return
        if self.state is WorkerState.RUNNING:
            self.pipeline.end_offset(read_at, end, self._clock.monotonic())

    async def _read_texts_back(self) -> None:
        def failed(error: KafkaUnavailable, _attempt: int) -> None:
            self.stuck = str(error)

        await read_texts_back(self.pipeline, self._parts.responses, self.number, self._retry("read_record"), failed)

    # Writing

    async def _write(self, *, clean: bool = False) -> None:
        """One transaction with all that waits. Retried until it is known to be committed, or the partition is lost."""
        async with self._writing:
            if self.state not in {WorkerState.RUNNING, WorkerState.DRAINING}:
                return  # given back, or begun again, while this waited its turn
            batch = self.pipeline.collect(self._clock.wall_ms())
            await self._write_batch(batch, clean=clean)

    async def _write_batch(self, batch: Batch, *, clean: bool, keep: CommitPoint | None = None) -> None:
        point = keep or self._committed

        def commit(offsets: Sequence[int]) -> tuple[int, str]:
            nonlocal point
            if keep is None:
                point = self.pipeline.commit_point(batch, offsets[: len(batch.saves)])
            return point.offset, self._metadata(point, clean=clean).encode()

        async def write() -> None:
            if not self._writer.started:
                await self._own()
            began = self._clock.monotonic()
            records = self._encoding.of(batch, self._parts.consumer.topic, self._clock.wall_ms())
            await self._writer.write(records, commit)
            self._parts.metrics.transaction_seconds.observe(self._clock.monotonic() - began)

        await self._retry("transaction").until_done(write, (KafkaUnavailable, RecordTooLarge), self._transaction_failed)
        self.stuck = None
        self._wrote_at = self._clock.monotonic()
        self._committed = point
        self._careful.committed(point.offset)
        if keep is None:
            self.pipeline.committed(batch, point, self._wrote_at)
            count_batch(self._parts.metrics, batch)
            self._parts.controls.notify(batch.unwanted)
            self._lanes.wake()

    def _transaction_failed(self, error: TokenstreamError, attempt: int) -> None:
        if isinstance(error, RecordTooLarge):
            self._encoding.cut_dead_letters(error)  # a response record waits until the topic takes it
        self._parts.metrics.transaction_retries.inc()
        self.stuck = str(error)
        log.warning("transaction_retry", partition=self.number, attempt=attempt, cause=str(error))
        self.pipeline.unreachable(self._clock.monotonic())

    def _metadata(self, point: CommitPoint, *, clean: bool) -> CommitMetadata:
        orderly = self.state is WorkerState.DRAINING
        attempts = self._attempts if point.offset == self._begun_at and not orderly else 0
        return self._careful.metadata(point.offset, point.restore, attempts, clean=clean, orderly=orderly)

    # Giving back

    async def drain(self, within: float) -> bool:
        """Stop sending, let what is in flight land, write everything with a clean end. Whether that was reached.

        After it nothing is published or committed. Never raises for an outage: what was not committed, a successor
        does again.
        """
        if self.state is not WorkerState.RUNNING or not self._parts.consumer.membership.holds():
            if self.state is WorkerState.RUNNING:
                log.info("partition_drained", partition=self.number, clean=False, leased=False)
            self.abandon()  # without the lease nothing in flight may be sent again: there is nothing to wait for
            return False
        self.state = WorkerState.DRAINING
        self._lanes.close()
        try:
            async with asyncio.timeout(within):
                landed = await self._land(within * LANDING_SHARE)
                self.pipeline.snapshot_all()
                await self._read_texts_back()
                landed = landed and not self.pipeline.lacks_texts and self.pipeline.knows_what_is_published
                await self._write(clean=landed)
        except (TimeoutError, PartitionLost) as error:
            log.warning("drain_incomplete", partition=self.number, cause=type(error).__name__)
            return False
        else:
            log.info("partition_drained", partition=self.number, clean=landed, leased=True)
            return landed
        finally:
            self.abandon()

    async def close(self) -> None:
        """End the producer. To be called last, when `run` and `drain` are over."""
        await self._writer.stop()

    async def _land(self, within: float) -> bool:
        """Wait for what is in flight. Whether all of it was answered; what was not, stays undetermined."""
        deadline = self._clock.monotonic() + within
        while self.pipeline.in_flight and self._clock.monotonic() < deadline:
            await asyncio.sleep(DRAIN_CHECK)
        landed = not self.pipeline.in_flight
        self._lanes.stop()
        return landed

    def abandon(self) -> None:
        """Releases the partition at once. Nothing more is published or committed by this worker."""
        self.state = WorkerState.GONE
        self._lanes.stop()
        self._alarm.ring()
