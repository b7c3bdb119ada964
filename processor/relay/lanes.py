"""Carries out the decisions of a partition's lanes: one task per channel that has something to send.

A task waits for the channel's turn, its rate, the connection and the lease, and only then requests a frame, so that
tokens that arrive meanwhile roll up into it. A requested frame is sent until it is acknowledged or permanently
refused.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import structlog
from opentelemetry.trace import Tracer

from processor.clock import Clock
from processor.core.backoff import Backoff
from processor.core.framer import Frame
from processor.core.outflow import AskHistory
from processor.core.partition import PartitionPipeline
from processor.errors import PublishRefused, PublishRetry, RefusalKind
from processor.ports.realtime import Realtime, Slot
from processor.relay.persistent_refusal import PERMANENT_AFTER, PersistentRefusal
from processor.telemetry.metrics import Metrics
from processor.telemetry.retry import Retry
from processor.telemetry.spans import ResponseSpans

log = structlog.get_logger(__name__)

HISTORY_WITHIN = 1.0
STALE_SHARE = 5 / 6
"""Of the service's duplicate window: a retry that comes later after the first send asks the history first."""
LEASE_CHECK = 0.05
PLAUSIBLE = 7 * 86_400.0
"""A token's `ts` that lies further away than any topic reaches back, in either direction, measures nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneParts:
    realtime: Realtime
    metrics: Metrics
    clock: Clock
    random: Random
    duplicate_window: float
    """The service's: see `processor.ports.realtime.RealtimeProfile`."""
    tracer: Tracer | None = None
    """None is the one that OpenTelemetry's API gives."""
    backoff: Backoff = field(default_factory=lambda: Backoff(first=0.05, cap=5.0))


class Lanes:
    """The lane tasks of one partition. `may_publish` is the lease: asked before every single send."""

    def __init__(
        self,
        parts: LaneParts,
        pipeline: PartitionPipeline,
        may_publish: Callable[[], bool],
        progressed: Callable[[], None],
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._realtime = parts.realtime
        self._metrics = parts.metrics
        self._clock = parts.clock
        self._random = parts.random
        self._backoff = parts.backoff
        self._stale_after = parts.duplicate_window * STALE_SHARE
        self._pipeline = pipeline
        self._may_publish = may_publish
        self._progressed = progressed
        self._tasks = tasks
        self._running: dict[str, asyncio.Task[None]] = {}
        self._closing = False
        self._spans = ResponseSpans(parts.tracer)
        self._misses_histories = False

    def wake(self) -> None:
        """Start a task for every channel that has become ready."""
        for channel in self._pipeline.take_woken():
            if channel not in self._running and not self._closing:
                self._running[channel] = self._tasks.create_task(self._serve(channel))

    def close(self) -> None:
        """Send nothing new; what is in flight goes on."""
        self._closing = True

    def stop(self) -> None:
        """Send nothing any more: frames in flight are left undetermined."""
        self._closing = True
        self._spans.close()
        for task in self._running.values():
            task.cancel()

    async def _serve(self, channel: str) -> None:
        slot = self._realtime.slot(channel)
        try:
            while not self._closing:
                async with slot:
                    await self._clearance(channel, slot)
                    if self._closing:
                        return
                    taken = self._pipeline.next_frame(channel, self._clock.monotonic())
                    if taken is None:
                        return
                    if isinstance(taken, AskHistory):
                        await self._ask_history(channel)
                        continue
                    await self._deliver(slot, taken)
                    if not self._pipeline.waits(channel):
                        return  # without another wait for the pace
        finally:
            self._running.pop(channel, None)
            self._realtime.release(channel)
            self._progressed()

    async def _clearance(self, channel: str, slot: Slot) -> None:
        """Wait until a message may go: connection up, lease good, pace kept."""
        await slot.connected()
        while not self._closing:
            # The lease last: nothing may come between its check and the send.
            if (delay := slot.delay(urgent=self._pipeline.urgent(channel))) > 0:
                self._metrics.pace_wait_seconds.inc(delay)
                await asyncio.sleep(delay)
            elif self._may_publish():
                return
            else:
                await asyncio.sleep(LEASE_CHECK)

    async def _ask_history(self, channel: str) -> None:
        try:
            history = await self._realtime.history(channel, HISTORY_WITHIN)
            published = history.published
        except PublishRetry as error:
            self._note_missing_history(error)
            published = {}
        self._pipeline.history(channel, published, self._clock.monotonic())

    def _note_missing_history(self, error: PublishRetry) -> None:
        """Reports the first one: after a crash it may be every open response's, all at once."""
        if not self._misses_histories:
            log.warning("history_unavailable", cause=str(error))
        self._misses_histories = True

    async def _deliver(self, slot: Slot, frame: Frame) -> None:
        first_sent = self._clock.monotonic()
        failed: tuple[Retry, PersistentRefusal] | None = None
        while True:
            sent = self._clock.monotonic()
            try:
                if failed is None or sent - first_sent < self._stale_after or not await self._in_history(frame):
                    if not self._may_publish():
                        raise PublishRetry("the lease ended before the send")  # noqa: TRY301 - one way to try again
                    await slot.publish(frame, 0 if failed is None else failed[0].attempt)
            except PublishRetry as error:
                retry, repeated = failed = failed or (self._retry(), PersistentRefusal())
                self._metrics.count_publish_failure(error.code)
                if repeated.is_permanent(error, self._clock.monotonic()):
                    self._refused(frame, error.code, f"refused for {PERMANENT_AFTER:.0f} s: {error}")
                    return
                log.info("publish_retry", code=error.code, attempt=retry.attempt, cause=str(error))
                await retry.pause()
                await self._clearance(frame.channel, slot)
                while not self._may_publish():
                    await asyncio.sleep(LEASE_CHECK)
                continue
            except PublishRefused as error:
                self._metrics.count_publish_failure(error.code)
                if error.kind is RefusalKind.TOO_LARGE:
                    self._pipeline.too_large(frame, error.code, self._clock.monotonic())
                else:
                    self._refused(frame, error.code, str(error))
            else:
                self._acknowledged(frame, sent)
            self._progressed()
            return

    def _retry(self) -> Retry:
        return Retry(self._backoff, self._random.random, self._metrics.publish_retries.inc)

    def _refused(self, frame: Frame, code: int, message: str) -> None:
        """Handles a permanent refusal by the channel."""
        log.warning("channel_refused", code=code, cause=message)
        self._spans.ended(frame.response_id, failed=True)
        self._pipeline.refused(frame, code, message, self._clock.monotonic())
        self._progressed()

    async def _in_history(self, frame: Frame) -> bool:
        log.info("publish_retry_asks_history", seconds=round(self._stale_after, 1))
        try:
            history = await self._realtime.history(frame.channel, HISTORY_WITHIN)
        except PublishRetry:
            return False
        return frame.id in history.ids

    def _acknowledged(self, frame: Frame, sent: float) -> None:
        now = self._clock.monotonic()
        self._observe(frame, sent, now)
        self._spans.acknowledged(frame)
        self._pipeline.done(frame, now)

    def _observe(self, frame: Frame, sent: float, now: float) -> None:
        """Of a frame's tokens the oldest is measured, in steps that add up: reading, waiting here, publishing."""
        metrics = self._metrics
        metrics.frames_published.count(frame.name)
        metrics.publish_seconds.observe(now - sent)
        if frame.acked_before is not None:
            metrics.stall_seconds.observe(now - frame.acked_before)
        if not frame.tokens:
            return
        metrics.tokens_per_frame.observe(frame.tokens)
        if frame.first_token_of is not None:
            metrics.first_token_seconds.observe(now - frame.first_token_of)
        if not frame.oldest_ts or frame.oldest_offset is None:
            return
        delivery = self._clock.wall() - frame.oldest_ts / 1000
        if abs(delivery) > PLAUSIBLE:
            return
        delivery = max(0.0, delivery)
        metrics.delivery_seconds.observe(delivery)
        read = self._pipeline.read_at(frame.oldest_offset)
        if read is not None:
            metrics.queue_seconds.observe(sent - read)
            metrics.consume_seconds.observe(max(0.0, delivery - (now - read)))
