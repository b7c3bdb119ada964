"""Applies expired timers of a partition to its responses."""

from collections.abc import Mapping
from typing import assert_never

from processor.core.intake import Intake
from processor.core.response import Phase, Response
from processor.core.timers import Kind, Timers
from processor.core.write_queue import WriteQueue
from topics.records import EndReason


class Expiry:
    """Applies expired timers, except while Kafka may be rejecting records of producers; the waits start again
    afterwards.
    """

    __slots__ = ("_intake", "_open", "_timers", "_write_queue", "unreachable_at")

    def __init__(
        self, intake: Intake, write_queue: WriteQueue, timers: Timers, open_responses: Mapping[str, Response]
    ) -> None:
        self._intake = intake
        self._write_queue = write_queue
        self._timers = timers
        self._open = open_responses
        self.unreachable_at = float("-inf")
        """The last time that Kafka did not answer."""

    def expire(self, now: float) -> None:
        for _, _, response in self._timers.pop_due(now):
            response.arm_snapshot(armed=False)
            self._write_queue.snapshot_due(response)
        for deadline, kind, response in self._timers.confirmed(self._intake.position):
            if self._open.get(response.id) is not response or response.phase is Phase.FINISHED:
                continue
            match kind:
                case Kind.FINISH:
                    self._intake.chunks.finish_expired(response, deadline, self.unreachable_at)
                case Kind.GAP:
                    self._gap_expired(response, deadline, now)
                case Kind.CANCEL:
                    self._cancel_expired(response, deadline, now)
                case Kind.IDLE:
                    self._idle_expired(response, deadline, now)
                case Kind.SNAPSHOT:
                    raise AssertionError("a snapshot waits for no end offset")
                case _:
                    assert_never(kind)

    def _gap_expired(self, response: Response, deadline: float, now: float) -> None:
        since, timeout = response.gap_since, self._intake.limits.gap_timeout
        if since is None or since + timeout > deadline:
            return
        if self.unreachable_at + timeout > deadline:
            self._timers.arm(self.unreachable_at + timeout, Kind.GAP, response)
        else:
            self._intake.advancer.give_up(response, now)

    def _idle_expired(self, response: Response, deadline: float, now: float) -> None:
        since = max(response.last_active, self.unreachable_at)
        if since + self._intake.limits.idle_timeout > deadline:
            self._intake.arm_idle(response, since)
            return
        self._intake.advancer.abandon(response, now)

    def _cancel_expired(self, response: Response, deadline: float, now: float) -> None:
        """Ends a cancelled response that has no stop in the log up to the deadline.

        First gives up the numbers that the sequence has not reached, because a stop may be among the records behind
        them.
        """
        timeout = self._intake.limits.cancel_timeout
        if self.unreachable_at + timeout > deadline:
            self._timers.arm(self.unreachable_at + timeout, Kind.CANCEL, response)
        else:
            self._intake.advancer.abandon(response, now, EndReason.CANCELLED)
