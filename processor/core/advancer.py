"""Advances the open responses of a partition: accepts records, gives up gaps, and applies ends that the relay decides."""

from collections.abc import Container
from typing import Final

from processor.core.counts import Counts
from processor.core.details import DETAILS
from processor.core.early import EarlyRecords
from processor.core.limits import RESPONSE_COST, Limits
from processor.core.outflow import Outflow
from processor.core.relief import UnpairedTails
from processor.core.response import Phase, Raw, Response, cost
from processor.core.sequencer import Verdict, next_known, take_stop, take_token
from processor.core.timers import Timers
from processor.core.write_queue import WriteQueue
from topics.codec import TokenRecord
from topics.records import EndReason, Event, Reason

_TOKEN: Final = str(Event.TOKEN)


class Advancer:
    """Changes the responses in `open_responses`.

    A response in `followed` has a run that still grows. No decision about it is taken before the run ends.
    """

    __slots__ = (
        "_early",
        "_followed",
        "_limits",
        "_open",
        "_outflow",
        "_timers",
        "_unpaired",
        "_write_queue",
        "counts",
    )

    def __init__(
        self,
        limits: Limits,
        write_queue: WriteQueue,
        outflow: Outflow,
        timers: Timers,
        open_responses: dict[str, Response],
        followed: Container[str],
        early: EarlyRecords,
        unpaired: UnpairedTails,
        counts: Counts,
    ) -> None:
        self._limits = limits
        self._write_queue = write_queue
        self._outflow = outflow
        self._timers = timers
        self._open = open_responses
        self._followed = followed
        self._early = early
        self._unpaired = unpaired
        self.counts = counts

    def accept(self, response: Response, record: TokenRecord, raw: Raw) -> None:
        """Accepts the record that has the next number. The caller has noted the record's offset."""
        if record.event != _TOKEN:
            if take_stop(response, record, raw, self._limits.response) is not None:
                self._overflow(response, raw)
            else:
                self.charge(response, cost(raw) + RESPONSE_COST)
                self._early.discard(response, Reason.LATE, "after the end of the response")
            self._outflow.enqueue(response)
            return
        outcome = take_token(response, record, raw, self._limits.response)
        if outcome is Reason.INVALID:
            self._write_queue.dead_letter(raw, Reason.TOO_LARGE, "a response has at most 64 parts")
        elif outcome is Reason.TOO_LARGE:
            self._overflow(response, raw)
        else:
            self.counts.tokens += 1
            self.charge(response, cost(raw))
        self._outflow.enqueue(response)

    def charge(self, response: Response, held: int) -> None:
        """Charges the cost of a record that is kept until it is acknowledged."""
        response.charge(held)
        self._outflow.queued_bytes += held

    def _overflow(self, response: Response, raw: Raw) -> None:
        self._write_queue.dead_letter(raw, Reason.TOO_LARGE, "the response would pass MAX_RESPONSE_BYTES")
        self.end(response, EndReason.TOO_LARGE)

    def advance(self, response: Response, now: float) -> None:
        """Accepts early records that are next in sequence, and applies decisions that the sequence has reached."""
        passed_over = response.next_seq == 1  # a record before the start may have its number
        while True:
            if (response.to_obey or response.decided_end) and response.obey_decisions():
                self._outflow.enqueue(response)
                passed_over = True
            if response.phase is not Phase.OPEN:
                self._early.discard(response, Reason.LATE, "after the end of the response")
                break
            for seq in [seq for seq in response.early if seq < response.next_seq] if passed_over else ():
                late = self._early.release(response, seq)
                self.settle(Reason.LATE if response.in_known_gap(seq) else Verdict.DUPLICATE, late.raw)
            passed_over = False
            if response.next_seq not in response.early:
                break
            early = self._early.release(response, response.next_seq)
            self.accept(response, early.record, early.raw)
        response.wait_for_gap(None)
        if response.early:
            self._early.watch_gap(response, now)
        if response.unpaired is not None:
            self._unpaired.note(response)

    def give_up(self, response: Response, now: float) -> None:
        """Gives up the numbers that are missing before the next known number."""
        if response.phase is Phase.AWAITING_START:
            for seq in sorted(response.early):
                self.give_up_startless(response, seq)
            return
        if (known := next_known(response)) is None:
            return
        self._check_not_followed(response)
        response.give_up_gap(known - 1)
        self.counts.gaps += 1
        self._write_queue.decide(response)
        self._outflow.enqueue(response)
        self.advance(response, now)

    def give_up_startless(self, response: Response, seq: int) -> None:
        self._early.give_up(response, seq)
        if not response.early:
            self._open.pop(response.id, None)
            self._timers.forget(response)

    def abandon(self, response: Response, now: float, reason: EndReason = EndReason.ABANDONED) -> None:
        """Gives up every missing number before the last known record, and ends the response.

        A stop among the known records ends the response instead.
        """
        while response.phase is not Phase.ENDING and (response.early or next_known(response) is not None):
            self.give_up(response, now)
        if response.phase is Phase.OPEN:
            self.end(response, reason)

    def end(self, response: Response, reason: EndReason) -> None:
        """Ends the response by a decision of the relay, after everything that was accepted."""
        self._check_not_followed(response)
        self._early.discard(response, Reason.LATE, "after the end of the response")
        response.decide_end(reason)
        self.charge(response, RESPONSE_COST)
        self._write_queue.decide(response)
        self._outflow.enqueue(response)

    def settle(self, verdict: Verdict | Reason, raw: Raw) -> None:
        if isinstance(verdict, Verdict):
            self.counts.duplicates += 1
        else:
            self._write_queue.dead_letter(raw, verdict, DETAILS.get(verdict, ""))

    def _check_not_followed(self, response: Response) -> None:
        """Asserts that the response is not followed.

        A decision made while tokens are appended to a run would not come after all of them.
        """
        assert response.id not in self._followed, f"a decision about {response!r} inside its run"
