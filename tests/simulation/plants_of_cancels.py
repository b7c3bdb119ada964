"""Bugs on purpose around cancels, one for each promise. They are looked for in plans that all have cancels."""

from random import Random

from processor.core.book import Batch
from processor.core.response import Cancel, Response, Stop
from processor.core.timers import Due, Kind, Timers
from simulation.cancels import draw_cancels
from simulation.many import plan_of_seed
from simulation.plan import Plan
from simulation.plants import Plant
from simulation.process import SeenIntake, SeenPipeline, SeenWorker
from topics.controls import ControlRecord
from topics.records import ResponseRecord


def plan_with_cancels(seed: int) -> Plan:
    return draw_cancels(Random(f"cancels {seed}"), plan_of_seed(seed))


class IgnoresCancels(SeenPipeline):
    """A response whose producer goes on is never ended."""

    def cancel(self, control: ControlRecord, cancel: Cancel) -> None:
        pass


class ForgetsCancelsBeforeTheStart(SeenIntake):
    def _recall_cancel(self, response: Response, started_ms: int, now: float) -> None:
        pass


class WantsTheStartFirst(SeenPipeline):
    intake = ForgetsCancelsBeforeTheStart


class ForgetsCancelsAtTakeoverIntake(SeenIntake):
    def recall_cancel_of_restored(self, response: Response, now: float) -> None:
        pass


class ForgetsCancelsAtTakeover(SeenPipeline):
    intake = ForgetsCancelsAtTakeoverIntake


class CancelsInAnyChannel(SeenPipeline):
    def cancel(self, control: ControlRecord, cancel: Cancel) -> None:
        if (response := self._open.get(control.response_id)) is not None:
            self._intake.cancel(response, cancel)


class DecidesCancelsAtOnce(Timers):
    def confirmed(self, position: int) -> list[Due]:
        hasty = [due for due in self._overdue if due[1] is Kind.CANCEL]
        self._overdue = [due for due in self._overdue if due[1] is not Kind.CANCEL]
        return [*hasty, *super().confirmed(position)]


class DoesNotReadOnBeforeItDecides(SeenPipeline):
    timers = DecidesCancelsAtOnce


class PublishesAtOnce(SeenIntake):
    def close(self, response: Response, reason: str) -> None:
        super().close(response, reason)
        for item in response.queue:
            if isinstance(item, Stop) and reason == "cancelled":
                item.durable = True
        self._outflow.enqueue(response)


class PublishesCancelsUndecided(SeenPipeline):
    intake = PublishesAtOnce


class ForgetsThatACancelWasDecided(SeenPipeline):
    def take_up(self, offset: int, response_id: str, record: ResponseRecord | None, now: float) -> None:
        super().take_up(offset, response_id, record, now)
        response = self._open.get(response_id)
        if response is not None and response.decided_end is not None and response.decided_end.reason == "cancelled":
            response.decided_end = None


class TakesTheStopForAProducers(SeenPipeline):
    def _finished(self, response: Response, now: float) -> None:
        response.ended_by_relay = False
        super()._finished(response, now)


class TellsNoProducer(SeenWorker):
    async def _write_batch(self, batch: Batch, **given: object) -> None:
        if given.get("keep") is None:
            batch = self.pipeline._book._batch = Batch(batch.saves, batch.dead_letters)
        await super()._write_batch(batch, **given)  # type: ignore[arg-type]


PLANTS = (
    Plant("ignores cancels", 20, pipeline=IgnoresCancels, plan_of=plan_with_cancels),
    Plant("wants the start first", 60, pipeline=WantsTheStartFirst, plan_of=plan_with_cancels),
    Plant("forgets cancels at takeover", 300, pipeline=ForgetsCancelsAtTakeover, plan_of=plan_with_cancels),
    Plant("cancels in any channel", 60, pipeline=CancelsInAnyChannel, plan_of=plan_with_cancels),
    Plant("does not read on before it decides", 400, pipeline=DoesNotReadOnBeforeItDecides, plan_of=plan_with_cancels),
    Plant("publishes cancels undecided", 40, pipeline=PublishesCancelsUndecided, plan_of=plan_with_cancels),
    Plant("forgets that a cancel was decided", 600, pipeline=ForgetsThatACancelWasDecided, plan_of=plan_with_cancels),
    Plant("takes the stop for a producer's", 40, pipeline=TakesTheStopForAProducers, plan_of=plan_with_cancels),
    Plant("tells no producer", 100, worker=TellsNoProducer, plan_of=plan_with_cancels),
)
