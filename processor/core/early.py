"""Holds records of a partition that arrive before their turn, until their turn or until they are given up."""

from processor.core.limits import Limits
from processor.core.relief import StartlessRecords
from processor.core.response import Early, Phase, Raw, Response, cost
from processor.core.timers import Kind, Timers
from processor.core.write_queue import WriteQueue
from topics.codec import TokenRecord
from topics.records import Reason


class EarlyRecords:
    """Counts the cost of the early records of all responses, and tracks the records of responses that have not started."""

    __slots__ = ("_limits", "_startless", "_timers", "_write_queue", "bytes")

    def __init__(self, limits: Limits, write_queue: WriteQueue, timers: Timers, startless: StartlessRecords) -> None:
        self._limits = limits
        self._write_queue = write_queue
        self._timers = timers
        self._startless = startless
        self.bytes = 0
        """The cost of all early records that are held."""

    def hold(self, response: Response, seq: int, record: TokenRecord, raw: Raw) -> None:
        self.bytes += response.hold(seq, Early(record, raw))
        if response.phase is Phase.AWAITING_START:
            self._startless.add(response, seq, raw)

    def release(self, response: Response, seq: int) -> Early:
        early = response.release(seq)
        self.bytes -= cost(early.raw)
        self._startless.remove(early.raw)
        return early

    def release_all(self, response: Response) -> None:
        """Drops all of them, because the response has ended."""
        for seq in sorted(response.early):
            self.release(response, seq)

    def discard(self, response: Response, reason: Reason, detail: str) -> None:
        """Writes all of them to the dead letters."""
        for seq in sorted(response.early):
            self._write_queue.dead_letter(self.release(response, seq).raw, reason, detail)
        response.wait_for_gap(None)

    def give_up(self, response: Response, seq: int) -> None:
        """Gives up a record whose response never started."""
        self._write_queue.dead_letter(self.release(response, seq).raw, Reason.NO_START, "the response never started")

    def adopt(self, response: Response) -> None:
        """Reclassifies the records after the start: they wait for their turn, no longer for the start."""
        for early in response.early.values():
            self._startless.remove(early.raw)

    def watch_gap(self, response: Response, now: float) -> None:
        """Arms the timer of the gap before the early records, once."""
        if response.early and response.gap_since is None:
            response.wait_for_gap(now)
            self._timers.arm(now + self._limits.gap_timeout, Kind.GAP, response)
