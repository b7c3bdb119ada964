"""Counts the outcomes of cancels.

A partition may read a producer's stop before it reads the cancel that caused it.
Therefore stops with the reason `cancelled` are remembered until their cancel arrives.
"""

from collections import OrderedDict
from typing import Final

from processor.core.counts import Counts
from processor.core.response import Cancel, Response
from topics.controls import ControlRecord
from topics.records import EndReason

REMEMBERED_STOPS: Final = 1_000
"""The maximum number of stops that wait for their cancel. Beyond it the oldest is forgotten, and its cancel counts as
late.
"""


class CancelOutcomes:
    __slots__ = ("_stopped",)

    def __init__(self) -> None:
        self._stopped: OrderedDict[str, tuple[str, float]] = OrderedDict()
        """Channel and end (monotonic seconds), by response id."""

    def ended(self, response: Response, now: float, counts: Counts) -> None:
        """Counts the cancel of a response that has ended, if there is one."""
        cancel, cancelled = response.cancel, response.reason == EndReason.CANCELLED
        if cancel is not None:
            forced = "forced" if response.ended_by_relay else "honoured"
            _count(counts, forced if cancelled else "late", now - cancel.asked_at if cancelled else None)
        elif cancelled:
            self._stopped[response.id] = response.channel, now
            if len(self._stopped) > REMEMBERED_STOPS:
                self._stopped.popitem(last=False)

    def after_end(self, control: ControlRecord, cancel: Cancel, counts: Counts) -> None:
        """Counts a cancel of a response that had ended."""
        channel, ended_at = self._stopped.get(control.response_id, ("", 0.0))
        if channel and control.concerns(channel):
            del self._stopped[control.response_id]
            _count(counts, "honoured", ended_at - cancel.asked_at)
        else:
            _count(counts, "late", None)


def _count(counts: Counts, outcome: str, seconds: float | None) -> None:
    counts.cancels[outcome] = counts.cancels.get(outcome, 0) + 1
    if seconds is not None:
        counts.cancel_seconds.append(max(0.0, seconds))
