"""Bugs on purpose: the product's classes, each wrong in one way, to show that the judges see it.

Each says within how many seeds, from 0, it is found. That is a promise about the judges and the faults, not about luck:
the same seeds give the same runs.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from processor.archive.batch import newest_offsets
from processor.core.book import Batch, CommitPoint
from processor.core.finished import DELETED_SEQ, FinishedMemory
from processor.core.framer import Frame, build, put_back
from processor.core.outflow import AskHistory
from processor.core.response import Gap, Raw, Response, Stop
from processor.core.timers import Due, Timers
from processor.errors import PublishRetry
from processor.ports.log import Record
from processor.ports.realtime import Slot
from processor.ports.store import Entry, Page, merge_hydration
from processor.relay.caution import CAUTIOUS_AFTER
from processor.relay.takeover import Beginning
from processor.relay.worker import WorkerState
from simulation.archive import SimArchive, SimStore
from simulation.clients import SimWriter
from simulation.coverage import Coverage
from simulation.group import SESSION_TIMEOUT
from simulation.log import Producing
from simulation.process import Kit, SeenIntake, SeenLanes, SeenPipeline, SeenWorker, SimConnection, SimRelay
from topics.records import ResponseRecord


class CommitsOneTooEarly(SeenPipeline):
    def commit_point(self, batch: Batch, offsets: Sequence[int]) -> CommitPoint:
        point = super().commit_point(batch, offsets)
        return CommitPoint(min(point.offset + 1, self.position), point.restore)


class GoesOnAfterASpoiltFetch(SimRelay):
    def _read_again(self) -> None:
        pass


class CountsAsAcknowledgedWhatIsSent(SeenLanes):
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


class PublishesAfterTheLease(SeenWorker):
    def _may_publish(self) -> bool:
        return self.state in {WorkerState.RUNNING, WorkerState.DRAINING}


class IgnoresTheLeasesMargin(SeenWorker):
    def _may_publish(self) -> bool:
        in_time = self._parts.consumer.membership.silence() < SESSION_TIMEOUT
        return self.state in {WorkerState.RUNNING, WorkerState.DRAINING} and in_time


class TimersThatDoNotWait(Timers):
    def confirmed(self, position: int) -> list[Due]:
        del position
        fired, self._overdue = self._overdue, []
        return fired


class LetsTimersRunWhilePaused(SeenPipeline):
    timers = TimersThatDoNotWait


class RegroupsUnderAnOldId(SeenLanes):
    async def _deliver(self, slot: Slot, frame: Frame) -> None:
        while frame.name in {"token", "part"}:
            try:
                await slot.publish(frame, 0)
            except PublishRetry:
                await self._clearance(frame.channel, slot)
                frame = self._regrouped(frame)
            else:
                self._acknowledged(frame, self._clock.monotonic())
                return
        await super()._deliver(slot, frame)

    def _regrouped(self, frame: Frame) -> Frame:
        lane = self._pipeline._outflow._lanes[frame.channel]
        built = lane.in_flight
        assert built is not None
        if built.piece is not None:
            return frame
        put_back(built)
        lane.in_flight = build(built.response)
        lane.in_flight.frame = msgspec.structs.replace(lane.in_flight.frame, id=frame.id)
        return lane.in_flight.frame


class DropsTheRestoreOfYoungFinals(SeenPipeline):
    def commit_point(self, batch: Batch, offsets: Sequence[int]) -> CommitPoint:
        point = super().commit_point(batch, offsets)
        of_open = [response.record_offset for response in self._open.values() if response.record_offset is not None]
        return CommitPoint(point.offset, min(of_open, default=self._book.responses_end))


class ForgetsDecisionsAtTakeover(SeenPipeline):
    def take_up(self, offset: int, response_id: str, record: ResponseRecord | None, now: float) -> None:
        super().take_up(offset, response_id, _undecided(record), now)


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


class ConfirmsBeforeItStores(SimArchive):
    async def _keep_storing(self) -> None:
        while True:
            batch = await self._intake.take()
            if self._stream is not None:
                for (partition, generation), offset in newest_offsets(batch).items():
                    self._stream.confirm(partition, offset, generation)
            await self._store_batch(batch)


class ReplacesTheFinished(SimStore):
    def _replaces(self, new: Entry, old: Entry) -> bool:
        assert new.record is not None
        assert old.record is not None
        return (new.record.finished, new.position.offset) > (old.record.finished, old.position.offset)


class ReadsTheFinishedFirst(SimStore):
    async def hydrate(self) -> set[str]:
        page = Page(tuple(self._read(finished=True)), None)
        await asyncio.sleep(self._random.uniform(0.005, 0.05))
        return {item.response_id for item in merge_hydration(self._read(finished=False), page).items}


class ForgetsEndsOfALogThatLostItsOwn(SeenPipeline):
    def begin(self, position: int, end_offset: int, *, clean: bool, lost: bool = False) -> None:
        if lost:
            self._book.finished = FinishedMemory()
        super().begin(position, end_offset, clean=clean, lost=lost)


class ForgetsDeletions(SeenPipeline):
    def take_up(self, offset: int, response_id: str, record: ResponseRecord | None, now: float) -> None:
        if record is None:
            self._book.finished.reopen(response_id)
        else:
            super().take_up(offset, response_id, record, now)


class TakesDeletedTextForNew(SeenPipeline):
    def take_up(self, offset: int, response_id: str, record: ResponseRecord | None, now: float) -> None:
        super().take_up(offset, response_id, record, now)
        if record is None:
            deleted = self._book.finished._entries[response_id]
            deleted.seq, deleted.last_offset = DELETED_SEQ - 1, -1


class PassesOverWhatLooksOld(SeenPipeline):
    def feed(self, raws: Sequence[Raw], position: int, now: float) -> None:
        super().feed([raw for raw in raws if (raw.timestamp or 0) > 0], position, now)


class MeasuresTheLeaseByTheWrongClock(SeenWorker):
    def _may_publish(self) -> bool:
        in_time = self._parts.consumer.membership.silence() < SESSION_TIMEOUT - 1.0
        return self.state in {WorkerState.RUNNING, WorkerState.DRAINING} and in_time


class BlamesTheNextRecordForEndsOfOwners(SeenWorker):
    def _take_up_suspicion(self, begin: Beginning, end: int) -> None:
        super()._take_up_suspicion(begin, end)
        if begin.attempts >= CAUTIOUS_AFTER:
            self._poison[begin.offset] = "owners ended before it"


@dataclass(frozen=True, slots=True)
class Plant:
    name: str
    within: int
    pipeline: type[SeenPipeline] = SeenPipeline
    worker: type[SeenWorker] = SeenWorker
    relay: type[SimRelay] | None = None
    lanes: type[SeenLanes] = SeenLanes
    connection: type[SimConnection] = SimConnection
    writer: type[SimWriter] = SimWriter
    archive: type[SimArchive] = SimArchive
    store: type[SimStore] = SimStore

    def kit(self, coverage: Coverage) -> Kit:
        return Kit(
            coverage=coverage,
            pipeline=self.pipeline,
            worker=self.worker,
            relay=self.relay,
            lanes=self.lanes,
            connection=self.connection,
            writer=self.writer,
            archive=self.archive,
            store=self.store,
        )


PLANTS = (
    Plant("commits one too early", 5, pipeline=CommitsOneTooEarly),
    Plant("goes on after a spoilt fetch", 80, relay=GoesOnAfterASpoiltFetch),
    Plant("snapshots ahead of acknowledgements", 20, lanes=CountsAsAcknowledgedWhatIsSent),
    Plant("forgets the epoch", 300, connection=ForgetsTheEpoch),
    Plant("takes silence for an answer", 250, connection=TakesSilenceForAnswer),
    Plant("retries under a new id", 200, connection=RetriesUnderANewId),
    Plant("loses dead letters", 5, worker=LosesDeadLetters),
    Plant("calls every end clean", 1000, worker=CallsEveryEndClean),
    Plant("skips the fence", 400, writer=SkipsTheFence),
    Plant("names frames by their first number", 50, pipeline=NamesFramesByTheirFirstNumber),
    Plant("drops the restore of young finals", 100, pipeline=DropsTheRestoreOfYoungFinals),
    Plant("forgets decisions at takeover", 600, pipeline=ForgetsDecisionsAtTakeover),
    Plant("publishes a gap before it is durable", 50, pipeline=PublishesUndecided),
    Plant("never writes", 20, pipeline=NeverWrites),
    Plant("publishes after the lease", 150, worker=PublishesAfterTheLease),
    Plant("ignores the lease's margin", 400, worker=IgnoresTheLeasesMargin),
    Plant("lets timers run while paused", 250, pipeline=LetsTimersRunWhilePaused),
    Plant("regroups under an old id", 150, lanes=RegroupsUnderAnOldId),
    Plant("confirms before it stores", 50, archive=ConfirmsBeforeItStores),
    Plant("replaces the finished", 1000, store=ReplacesTheFinished),
    Plant("reads the finished first", 1000, store=ReadsTheFinishedFirst),
    Plant("forgets ends of a log that lost its own", 1000, pipeline=ForgetsEndsOfALogThatLostItsOwn),
    Plant("forgets deletions", 1000, pipeline=ForgetsDeletions),
    Plant("takes deleted text for new", 1000, pipeline=TakesDeletedTextForNew),
    Plant("passes over what looks old", 1000, pipeline=PassesOverWhatLooksOld),
    Plant("measures the lease by the wrong clock", 1000, worker=MeasuresTheLeaseByTheWrongClock),
    Plant("blames the next record for ends of owners", 100, worker=BlamesTheNextRecordForEndsOfOwners),
)
