"""Applies cancels to the responses of a partition, and remembers those that arrive before their response starts."""

import msgspec

from processor.core.limits import Limits
from processor.core.response import Cancel, Phase, Response
from processor.core.timers import Kind, Timers
from topics.controls import REMEMBERED_SECONDS, ControlRecord, ControlsMemory, Noted


class ResponseCancels:
    """Arms the timer that ends a cancelled response."""

    __slots__ = ("_known", "_limits", "_timers")

    def __init__(self, limits: Limits, timers: Timers, known: ControlsMemory) -> None:
        self._limits = limits
        self._timers = timers
        self._known = known

    def recall(self, response: Response, now: float) -> None:
        """Applies a cancel that arrived within a minute before the start."""
        if (noted := self._first_of(response, now)) is not None:
            self._take_up(response, Cancel(noted.at, now, now))

    def recall_for_restored(self, response: Response, now: float) -> None:
        """Does the same for a response restored from its record, by the times of the records."""
        if (noted := self._first_of(response, now)) is not None:
            self._take_up_since_start(response, noted.control, Cancel(noted.at, noted.at, now))

    def apply(self, response: Response, control: ControlRecord, cancel: Cancel) -> None:
        """Applies a cancel that was read after the start. If that is long after it was written, it may have come before
        the start, or more than a minute before it; then it has no effect.
        """
        if cancel.read_at - cancel.since <= REMEMBERED_SECONDS or _counts(control, response):
            self._take_up_since_start(response, control, cancel)

    def _first_of(self, response: Response, now: float) -> Noted | None:
        """Returns the first remembered cancel that counts for the response."""
        found = self._known.find(response.id, response.channel, now)
        return next((noted for noted in found if _counts(noted.control, response)), None)

    def _take_up_since_start(self, response: Response, control: ControlRecord, cancel: Cancel) -> None:
        started = cancel.since + max(0.0, _seconds_to_start(control, response))
        self._take_up(response, msgspec.structs.replace(cancel, since=min(cancel.read_at, started)))

    def _take_up(self, response: Response, cancel: Cancel) -> None:
        """Applies a cancel to an open response."""
        if response.cancel is None and response.phase in {Phase.OPEN, Phase.ENDING}:
            response.note_cancel(cancel)
            self._timers.arm(cancel.since + self._limits.cancel_timeout, Kind.CANCEL, response)


def _counts(control: ControlRecord, response: Response) -> bool:
    """Whether a cancel came after the start, or at most a minute before it."""
    return _seconds_to_start(control, response) <= REMEMBERED_SECONDS


def _seconds_to_start(control: ControlRecord, response: Response) -> float:
    """Seconds from a cancel to the start of its response."""
    return (response.started_at - (control.ts or 0)) / 1000
