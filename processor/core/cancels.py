"""Applies cancels to the responses of a partition, and remembers those that arrive before their response starts."""

from processor.core.limits import Limits
from processor.core.response import Cancel, Phase, Response
from processor.core.timers import Kind, Timers
from topics.controls import REMEMBERED_SECONDS, ControlsMemory, Noted


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
            self.take_up(response, Cancel(noted.at, now))

    def recall_for_restored(self, response: Response, now: float) -> None:
        """Does the same for a response restored from its record, by the times of the records."""
        if (noted := self._first_of(response, now)) is not None:
            seconds = max(0.0, _seconds_to_start(noted, response))
            self.take_up(response, Cancel(noted.at, min(now, noted.at + seconds)))

    def _first_of(self, response: Response, now: float) -> Noted | None:
        """Returns the first remembered cancel that came at most a minute before the start, or later."""
        for noted in self._known.find(response.id, response.channel, now):
            if _seconds_to_start(noted, response) <= REMEMBERED_SECONDS:
                return noted
        return None

    def take_up(self, response: Response, cancel: Cancel) -> None:
        """Applies a cancel to an open response."""
        if response.cancel is None and response.phase in {Phase.OPEN, Phase.ENDING}:
            response.note_cancel(cancel)
            self._timers.arm(cancel.since + self._limits.cancel_timeout, Kind.CANCEL, response)


def _seconds_to_start(noted: Noted, response: Response) -> float:
    """Seconds from a cancel to the start of its response."""
    return (response.started_at - (noted.control.ts or 0)) / 1000
