"""Bugs on purpose: the product's classes, each wrong in one way, to show that the judges see it.

Each says within how many seeds, from 0, it is found. That is a promise about the judges and the faults, not about luck:
the same seeds give the same runs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from processor.core.book import Batch, CommitPoint
from processor.core.framer import Frame
from processor.core.outflow import AskHistory
from processor.core.response import Gap, Response, Stop
from processor.errors import PublishRetry
from processor.ingest.ports import Record
from processor.ports import Slot
from processor.publish.lanes import Lanes
from simulation.clients import SimWriter
from simulation.coverage import Coverage
from simulation.log import Producing
from simulation.process import Kit, SeenIntake, SeenPipeline, SeenWorker, SimConnection
from topics.records import ResponseRecord

Entries = Iterable[tuple[int, str, ResponseRecord | None]]


class CommitsOneTooEarly(SeenPipeline):
    def commit_point(self, batch: Batch, offsets: Sequence[int]) -> CommitPoint:
        point = super().commit_point(batch, offsets)
        return CommitPoint(min(point.offset + 1, self.position), point.restore)


class CountsAsAcknowledgedWhatIsSent(Lanes):
    async def _deliver(self, slot: Slot, frame: Frame) -> None:
        self._acknowledged(frame, self._clock.monotonic())
        while True:
            try:
                await slot.publish(frame, 0)
            except PublishRetry:
                await self._clearance(frame.channel, slot)
            else:
                return


class ForgetsTheEpoch(SimConnection):
    _epoch: int = property(lambda _: 0, lambda _self, _epoch: None)  # type: ignore[assignment]  # it never grows


class TakesSilenceForAnswer(SimConnection):
    async def publish(self, frame: Frame, deadline: float) -> None:
        try:
            await super().publish(frame, deadline)
        except PublishRetry:
            return


class RetriesUnderANewId(SimConnection):
    attempts = 0

    async def publish(self, frame: Frame, deadline: float) -> None:
        self.attempts += 1
        await super().publish(msgspec.structs.replace(frame, id=f"{frame.id}#{self.attempts}"), deadline)


class LosesDeadLetters(SeenWorker):
    def _records(self, batch: Batch) -> list[Record]:
        return super()._records(Batch(batch.saves, ()))


class CallsEveryEndClean(SeenWorker):
    async def _land(self, within: float) -> bool:
        await super()._land(within / 50)
        return True


class SkipsTheFence(SimWriter):
    async def start(self) -> None:
        producing = self._brokers.producers.setdefault(self._id, Producing())
        producing.epoch = self._epoch = max(0, producing.epoch)


class NamesFramesByTheirFirstNumber(SeenPipeline):
    def take(self, channel: str, now: float) -> Frame | AskHistory | None:
        taken = super().take(channel, now)
        built = self._outflow._lanes[channel].in_flight if isinstance(taken, Frame) else None
        if built is None or not isinstance(taken, Frame):
            return taken
        built.frame = msgspec.structs.replace(taken, id=f"{taken.response_id}/{taken.name}/{taken.headers['seq']}")
        return built.frame


class DropsTheRestoreOfYoungFinals(SeenPipeline):
    def commit_point(self, batch: Batch, offsets: Sequence[int]) -> CommitPoint:
        point = super().commit_point(batch, offsets)
        of_open = [response.record_offset for response in self._open.values() if response.record_offset is not None]
        return CommitPoint(point.offset, min(of_open, default=self._book.responses_end))


class ForgetsDecisionsAtTakeover(SeenPipeline):
    def restore(self, entries: Entries, responses_end: int, now: float) -> None:
        super().restore([(at, key, _undecided(record)) for at, key, record in entries], responses_end, now)


def _undecided(record: ResponseRecord | None) -> ResponseRecord | None:
    if record is None:
        return None
    relay: dict[str, Any] = {name: value for name, value in record.relay.items() if name != "decided"}
    return msgspec.structs.replace(record, relay=relay)


class HastyIntake(SeenIntake):
    def give_up(self, response: Response, now: float) -> None:
        super().give_up(response, now)
        for item in response.queue:
            if isinstance(item, Gap | Stop):
                item.durable = True
        self._outflow.enqueue(response)


class PublishesUndecided(SeenPipeline):
    intake = HastyIntake


class NeverWrites(SeenPipeline):
    @property
    def wants_write(self) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Plant:
    name: str
    within: int
    pipeline: type[SeenPipeline] = SeenPipeline
    worker: type[SeenWorker] = SeenWorker
    lanes: type[Lanes] = Lanes
    connection: type[SimConnection] = SimConnection
    writer: type[SimWriter] = SimWriter

    def kit(self, coverage: Coverage) -> Kit:
        return Kit(
            coverage=coverage,
            pipeline=self.pipeline,
            worker=self.worker,
            lanes=self.lanes,
            connection=self.connection,
            writer=self.writer,
        )


PLANTS = (
    Plant("commits one too early", 5, pipeline=CommitsOneTooEarly),
    Plant("snapshots ahead of acknowledgements", 20, lanes=CountsAsAcknowledgedWhatIsSent),
    Plant("forgets the epoch", 300, connection=ForgetsTheEpoch),
    Plant("takes silence for an answer", 250, connection=TakesSilenceForAnswer),
    Plant("retries under a new id", 200, connection=RetriesUnderANewId),
    Plant("loses dead letters", 5, worker=LosesDeadLetters),
    Plant("calls every end clean", 250, worker=CallsEveryEndClean),
    Plant("skips the fence", 400, writer=SkipsTheFence),
    Plant("names frames by their first number", 50, pipeline=NamesFramesByTheirFirstNumber),
    Plant("drops the restore of young finals", 100, pipeline=DropsTheRestoreOfYoungFinals),
    Plant("forgets decisions at takeover", 100, pipeline=ForgetsDecisionsAtTakeover),
    Plant("publishes a gap before it is durable", 50, pipeline=PublishesUndecided),
    Plant("never writes", 20, pipeline=NeverWrites),
)
