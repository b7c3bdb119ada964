"""The bugs of the product that a frozen scenario was kept for, put in again: it still shows them."""

from processor.core.ended import EndedIds
from processor.core.response import Phase, Response
from processor.core.sequencer import give_up_gap
from simulation.plants import Plant
from simulation.process import SeenIntake, SeenPipeline


class GivesUpOverWhatIsDecided(SeenIntake):
    def give_up(self, response: Response, now: float) -> None:
        if response.phase is Phase.AWAITING_START or not response.early:
            super().give_up(response, now)
            return
        give_up_gap(response, min(response.early) - 1)
        self._book.decide(response)
        self._outflow.enqueue(response)
        self._advance(response, now)


class GivesUpOver(SeenPipeline):
    intake = GivesUpOverWhatIsDecided


class RelievesAsIfNothingWerePublished(SeenIntake):
    def _relieve(self, offset: int, now: float) -> None:
        before, self.unknown_before = self.unknown_before, 0
        super()._relieve(offset, now)
        self.unknown_before = before


class Relieves(SeenPipeline):
    intake = RelievesAsIfNothingWerePublished


class ForgetsByTheClock(SeenPipeline):
    def _forget_finished(self, now: float) -> None:
        self._book.finished.forget(now, self.limits.finished_ttl, self._committed_offset)
        self._book.finished._ended = EndedIds(0)


PLANTS = (
    ("a_gap_meets_a_decided_one", Plant("gives up over what is decided", 40, pipeline=GivesUpOver)),
    ("early_tokens_given_up_after_a_takeover_1", Plant("relieves as if nothing were published", 40, pipeline=Relieves)),
    ("an_id_used_again_while_paused", Plant("forgets by the clock", 40, pipeline=ForgetsByTheClock)),
)
