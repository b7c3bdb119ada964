"""The bugs of the product that a frozen scenario was kept for, put in again: it still shows them."""

from processor.core.ended import EndedIds
from processor.core.finished import Finished
from processor.core.response import Raw, Response
from simulation.plants import Plant
from simulation.process import SeenIntake, SeenPipeline
from topics.codec import Invalid, TokenRecord


class RelievesAsIfNothingWerePublished(SeenIntake):
    def relieve(self, offset: int, now: float) -> None:
        before, self.unknown_before = self.unknown_before, 0
        super().relieve(offset, now)
        self.unknown_before = before


class Relieves(SeenPipeline):
    intake = RelievesAsIfNothingWerePublished


class ForgetsByTheClock(SeenPipeline):
    def _forget_finished(self, now: float) -> None:
        self._book.finished.forget(now, self.limits.finished_ttl, self._committed_offset)
        self._book.finished._ended = EndedIds(0)


class AppendsGapsAsTheyAreGivenUp(SeenIntake):
    def give_up(self, response: Response, now: float) -> None:
        before = set(response.decided_gaps)
        super().give_up(response, now)
        response.decided_gaps.sort(key=lambda gap: gap not in before)


class Appends(SeenPipeline):
    intake = AppendsGapsAsTheyAreGivenUp


class ForgetsWhatCameAfterAnEnd(SeenIntake):
    def _take(self, record: TokenRecord | Invalid, raw: Raw, now: float) -> None:
        ended = self._book.finished.get(record.response_id) if isinstance(record, TokenRecord) else None
        known = ended.known_offset if isinstance(ended, Finished) else 0
        super()._take(record, raw, now)
        if isinstance(ended, Finished):
            ended.known_offset = known


class Forgets(SeenPipeline):
    intake = ForgetsWhatCameAfterAnEnd


PLANTS = (
    ("an_id_used_again_before_a_late_takeover", Plant("forgets what came after an end", 40, pipeline=Forgets)),
    ("a_record_of_a_gap_between_decided_ones", Plant("appends gaps as they are given up", 40, pipeline=Appends)),
    ("early_tokens_given_up_after_a_takeover_1", Plant("relieves as if nothing were published", 40, pipeline=Relieves)),
    ("an_id_used_again_while_paused", Plant("forgets by the clock", 40, pipeline=ForgetsByTheClock)),
)
