"""A partition whose owners end in every way: its log, its commits, and the workers that own it one after the other."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import orjson

from processor.clock import Clock
from processor.core.limits import Limits
from processor.core.outflow import AskHistory
from processor.core.partition import PartitionPipeline
from processor.errors import RecordTooLarge
from processor.relay.commit_metadata import CommitMetadata
from processor.relay.controls import RelayControls
from processor.relay.parts import LanesOf, WorkerParts, pipeline_of
from processor.relay.worker import PartitionWorker
from processor.telemetry.metrics import Metrics
from support.around import Around
from support.chance import Never
from support.measures import NoMeasures
from support.world import LogRecord
from topics.codec import Decoder
from topics.plain import PlainToken

Commit = Callable[[Sequence[int]], tuple[int, str]]
DEADLY = "DEADLY"


class Killed(BaseException):
    """The process is gone."""


class DeadlyDecoder(Around):
    def __init__(self) -> None:
        super().__init__(Decoder(None))

    def plain(self, value: bytes) -> PlainToken:
        if DEADLY.encode() in value:
            raise Killed
        taken: PlainToken = self.inside.plain(value)
        return taken


class RaisesAfterConsuming(Around):
    def __init__(self, parts: WorkerParts, limits: Limits) -> None:
        super().__init__(pipeline_of(parts, limits))

    def consume(self, raws: Sequence[Any], position: int, now: float) -> None:
        self.inside.consume(raws, position, now)
        raise MemoryError("a timer of somebody else")


class Membership:
    ended = False

    def __init__(self) -> None:
        self.held = True

    def silence(self) -> float:
        return 0.0

    def holds(self) -> bool:
        return self.held

    async def heartbeat_after(self, moment: float) -> None: ...


class HungLanes:
    """The realtime service takes a frame and never answers."""

    def __init__(self, pipeline: PartitionPipeline) -> None:
        self._pipeline = pipeline

    def wake(self) -> None:
        for channel in self._pipeline.take_woken():
            if isinstance(self._pipeline.next_frame(channel, 1.0), AskHistory):
                self._pipeline.history(channel, {}, 1.0)
                self._pipeline.next_frame(channel, 1.0)

    def close(self) -> None: ...
    def stop(self) -> None: ...


class Partition:
    """Kafka, with one partition: its log, its committed offset, and the dead letters of its owners."""

    topic = "tokens"

    def __init__(self, *texts: str, metadata: CommitMetadata | None = None) -> None:
        events = [
            {"event": "start", "channel": "c"},
            *({"event": "token", "text": text} for text in texts),
            {"event": "stop"},
        ]
        self.log = [
            LogRecord(seq, orjson.dumps({**fields, "responseId": "r", "seq": seq})) for seq, fields in enumerate(events)
        ]
        self.committed = 0, (metadata or CommitMetadata(clean=True)).encode()
        self.dead_letters: list[tuple[str, int]] = []
        self.membership = Membership()
        self.answers: Callable[[CommitMetadata], bool] = lambda _: True
        """Whether Kafka answers to a commit that it carried out."""
        self.takes: Callable[[CommitMetadata], float] = lambda _: 0.0
        """Seconds until it answers to a commit that it carried out."""
        self.refuses_records = False

    @property
    def metadata(self) -> CommitMetadata:
        return CommitMetadata.decode(self.committed[1])

    # As an owner's consumer, committed offsets, `responses` and writer

    started = True

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def close(self) -> None: ...
    def seek(self, number: int, offset: int) -> None: ...

    async def first_offset(self, _number: int) -> int:
        return 0

    async def end_offset(self, _number: int) -> int:
        return len(self.log)

    async def write(self, records: Sequence[Any], commit: Commit) -> tuple[int, str]:
        await asyncio.sleep(0)
        for topic, *_, headers in records:
            named = dict(headers)
            if topic == "dead-letters":
                self.dead_letters.append(
                    (named["tokenstream-reason"].decode(), int(named["tokenstream-offset"].decode()))
                )
        if records and self.refuses_records:
            raise RecordTooLarge("responses", 1)
        self.committed = commit(range(len(records)))
        await asyncio.sleep(self.takes(self.metadata))
        if not self.answers(self.metadata):
            await asyncio.Event().wait()
        return self.committed

    def parts(self, lanes_of: LanesOf = lambda pipeline, *_: HungLanes(pipeline)) -> WorkerParts:
        """The parts of a worker of this partition, in a process of its own."""
        nothing: Any = Nothing(self)
        self.membership = Membership()
        consumer: Any = self
        decoder: Any = DeadlyDecoder()
        time = asyncio.get_running_loop().time
        clock = Clock(monotonic=time, since_boot=time)
        return WorkerParts(
            consumer=consumer,
            committed=nothing,
            responses=nothing,
            writer_of=lambda _: consumer,
            lanes_of=lanes_of,
            decoder=decoder,
            metrics=Metrics(),
            clock=clock,
            random=Never(),
            measures=NoMeasures(),
            responses_topic="responses",
            dead_letters_topic="dead-letters",
            dead_letter_bytes=1 << 20,
            controls=RelayControls(clock, Random(1)),
        )

    def worker(self, limits: Limits | None = None, parts: WorkerParts | None = None) -> PartitionWorker:
        parts = parts or self.parts()
        return PartitionWorker(0, parts, parts.writer_of(0), limits or Limits())

    async def owner(self, limits: Limits | None = None) -> "Owner":
        owner = Owner(self, self.worker(limits))
        await owner.until(lambda: owner.worker.running)
        return owner


class Nothing:
    """The `responses` topic, which is empty, and the offsets."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition

    async def read(self, _number: int, *_: Any, **__: Any) -> Any:
        return 0 if _ else self._partition.committed

    async def close(self) -> None: ...


class Owner:
    def __init__(self, partition: Partition, worker: PartitionWorker) -> None:
        self.partition = partition
        self.worker = worker
        self.task = asyncio.create_task(worker.run())

    @property
    def gone(self) -> bool:
        return self.task.done()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition() and not self.gone:
                await asyncio.sleep(0.001)

    async def until_fed_up_to(self, offset: int) -> None:
        await self.until(lambda: self.worker.pipeline.position == offset)

    async def read(self) -> None:
        """Feed all there is, until it is taken in, the partition is paused, or the owner is gone."""
        log, start = self.partition.log, self.partition.committed[0]
        try:
            self.worker.consume(log[start:], len(log))
        except Killed:
            await self.kill()
        await self.until(self._has_read)

    def _has_read(self) -> bool:
        pipeline = self.worker.pipeline
        return (pipeline.paused or pipeline.position == len(self.partition.log)) and (
            self.partition.metadata.trying is None
        )

    async def kill(self) -> None:
        """End it: nothing more is written."""
        self.worker.abandon()
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Killed):
            await self.task

    async def drain(self) -> None:
        await self.worker.drain(2.0)
        await self.kill()
