"""A takeover publishes nothing again that `responses` knows, and writes no deleted text anywhere."""

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import orjson
import pytest

from processor.clock import Clock
from processor.core.limits import Limits
from processor.core.outflow import AskHistory
from processor.core.partition import PartitionPipeline
from processor.errors import KafkaUnavailable
from processor.relay.commit_metadata import CommitMetadata
from processor.relay.controls import RelayControls
from processor.relay.parts import WorkerParts
from processor.relay.takeover import beginning, restore
from processor.relay.worker import PartitionWorker
from processor.telemetry.metrics import Metrics
from support.measures import NoMeasures
from support.world import LogRecord
from topics.codec import Decoder, encode_response
from topics.records import Reason

Take = Callable[[int, bytes, bytes | None], None]


class Topic:
    """`responses`, with the records of one partition."""

    def __init__(self) -> None:
        self.records: list[tuple[int, bytes, bytes | None]] = []

    def append(self, key: str, value: bytes | None) -> None:
        self.records.append((len(self.records), key.encode(), value))

    async def read(self, _number: int, start: int, take: Take, *, only: bool = False) -> int:
        del only
        for record in self.records[start:]:
            take(*record)
        return len(self.records)

    async def close(self) -> None: ...


def event(offset: int, kind: str, response_id: str, seq: int | None, channel: str = "c", **more: Any) -> LogRecord:
    fields = {"event": kind, "responseId": response_id, **more}
    if seq is not None:
        fields["seq"] = seq
    if kind == "start":
        fields["channel"] = channel
    return LogRecord(offset, orjson.dumps(fields))


def answer(offset: int, response_id: str, *, numbered: bool = True, channel: str = "c") -> list[LogRecord]:
    seqs = (0, 1, 2) if numbered else (None, None, None)
    return [
        event(offset, "start", response_id, seqs[0], channel, metadata={"user": "SECRET"}),
        event(offset + 1, "token", response_id, seqs[1], text="SECRET"),
        event(offset + 2, "stop", response_id, seqs[2]),
    ]


def publish(pipeline: PartitionPipeline, channel: str, now: float = 0.0) -> int:
    frames = 0
    while (taken := pipeline.next_frame(channel, now)) is not None:
        if isinstance(taken, AskHistory):
            pipeline.history(channel, {}, now)
        else:
            pipeline.done(taken, now)
            frames += 1
    return frames


def write(pipeline: PartitionPipeline, topic: Topic, now: float = 0.0) -> tuple[int, str]:
    batch = pipeline.collect(1)
    start = len(topic.records)
    point = pipeline.commit_point(batch, range(start, start + len(batch.saves)))
    for save in batch.saves:
        topic.append(save.record.response_id, encode_response(save.record))
    pipeline.committed(batch, point, now)
    return point.offset, CommitMetadata(point.restore, clean=True).encode()


def successor(topic: Topic, committed: tuple[int, str], end: int, limits: Limits | None = None) -> PartitionPipeline:
    begin = beginning(committed, 0, end)
    pipeline = PartitionPipeline(Decoder(), limits or Limits())
    responses_end = asyncio.run(restore(pipeline, topic, 0, begin.restore, Clock()))
    pipeline.begin(begin.offset, end, clean=begin.clean_after(responses_end), lost=begin.lost)
    return pipeline


def a_day(limits: Limits, topic: Topic) -> tuple[list[LogRecord], tuple[int, str]]:
    """500 responses, one after the other, and what is committed behind them."""
    log: list[LogRecord] = []
    committed = (0, "")
    pipeline = PartitionPipeline(Decoder(), limits)
    pipeline.begin(0, 0, clean=True)
    for number in range(500):
        now = number * 170.0
        log += answer(len(log), f"r{number}", numbered=number % 3 > 0)
        pipeline.consume(log[-3:], len(log), now)
        publish(pipeline, "c", now)
        committed = write(pipeline, topic, now)
        pipeline.tick(now)
    return log, committed


@pytest.mark.parametrize("limits", [Limits(), Limits(finals=20)])
def test_a_log_that_lost_its_end_is_not_published_again(limits: Limits) -> None:
    topic = Topic()
    log, committed = a_day(limits, topic)
    del log[-2:]
    pipeline = successor(topic, committed, len(log), limits)
    for number in range(0, len(log), 100):
        pipeline.consume(log[number : number + 100], min(len(log), number + 100), 1.0)
        assert publish(pipeline, "c", 1.0) == 0
        # Taken over again in the middle, it is read on from what was committed, and all is known still.
        pipeline = successor(topic, write(pipeline, topic, 1.0), len(log), limits)
    assert pipeline.collect(1).dead_letters == ()
    assert pipeline.status().open_responses == 0


def test_a_topic_made_anew_is_read_from_its_begin() -> None:
    topic = Topic()
    _, committed = a_day(Limits(), topic)
    log = answer(0, "new")
    pipeline = successor(topic, committed, len(log))
    pipeline.consume(log, len(log), 1.0)
    assert publish(pipeline, "c", 1.0) == 3
    assert write(pipeline, topic, 1.0)[0] == len(log)


def test_a_group_that_lost_its_offsets_asks_the_histories() -> None:
    assert beginning(None, 0, 9).clean_after(0)
    assert not beginning(None, 0, 9).clean_after(1)


def test_a_late_copy_of_an_old_response_opens_nothing() -> None:
    topic, limits = Topic(), Limits(finals=20)
    pipeline = PartitionPipeline(Decoder(), limits)
    pipeline.begin(0, 0, clean=True)
    pipeline.consume(first := answer(0, "r"), 3, 0.0)
    publish(pipeline, "c")
    write(pipeline, topic)
    pipeline.tick(limits.finished_ttl + 1)
    copies = [LogRecord(3 + number, record.value) for number, record in enumerate(first)]
    another = event(6, "start", "r", 0, metadata={"another": 1})
    pipeline.consume([*copies, another, event(7, "token", "r", 9, text="late")], 8, 301.0)
    assert pipeline.status().open_responses == 0
    letters = [(letter.reason, letter.raw.offset) for letter in pipeline.collect(1).dead_letters]
    assert letters == [(Reason.RESPONSE_ID_REUSED, 6), (Reason.LATE, 7)]


@pytest.mark.parametrize("final_gone", [False, True])
@pytest.mark.parametrize("finals", [10_000, 1])
@pytest.mark.parametrize("numbered", [True, False])
def test_deleted_text_is_in_no_dead_letter_after_a_takeover(numbered: bool, finals: int, final_gone: bool) -> None:
    topic, limits = Topic(), Limits(finals=finals)
    log = [event(0, "start", "a", 0, "slow"), *answer(1, "b", numbered=numbered)]
    if finals == 1:
        log += [*answer(4, "x"), *answer(7, "y")]
    first = PartitionPipeline(Decoder(), limits)
    first.begin(0, 0, clean=True)
    first.consume(log, len(log), 0.0)
    first.next_frame("slow", 0.0)  # not answered: the committed offset stays 0
    publish(first, "c")
    committed = write(first, topic)
    topic.append("b", None)
    if final_gone:  # compaction may leave the tombstone alone
        topic.records = [record for record in topic.records if record[1] != b"b" or record[2] is None]
    read = [record for record in topic.records if record[0] >= 0]

    async def reads(_number: int, start: int, take: Take, *, only: bool = False) -> int:
        del only
        for record in read:
            if record[0] >= start:
                take(*record)
        return read[-1][0] + 1

    topic.read = reads  # type: ignore[method-assign]
    second = successor(topic, committed, len(log), limits)
    second.tick(1e12)  # remembered for as long as what is read again can hold it
    third = successor(topic, write(second, topic, 1e12), len(log), limits)
    again = event(len(log), "token", "b", 7 if numbered else None, text="SECRET")
    for pipeline in (second, third):
        pipeline.consume([*log, again], len(log) + 1, 1e12)
        assert publish(pipeline, "c", 1e12) == 0
        assert pipeline.collect(2).dead_letters == ()


class Membership:
    ended = False

    def holds(self) -> bool:
        return True

    async def heartbeat_after(self, moment: float) -> None: ...


class Consumer:
    """The tokens topic of one partition, which the broker lost the end of."""

    topic, membership = "tokens", Membership()

    def __init__(self, log: list[LogRecord]) -> None:
        self.log = log
        self.sought: list[int] = []

    async def first_offset(self, _number: int) -> int:
        return 0

    async def end_offset(self, _number: int) -> int:
        return len(self.log)

    def seek(self, _number: int, offset: int) -> None:
        self.sought.append(offset)


class Committed:
    def __init__(self, committed: tuple[int, str]) -> None:
        self.value = committed

    async def read(self, _number: int) -> tuple[int, str]:
        return self.value


class Writer:
    started = True

    def __init__(self, committed: Committed) -> None:
        self._committed = committed

    async def start(self) -> None: ...

    async def write(
        self, _records: Sequence[Any], commit: Callable[[Sequence[int]], tuple[int, str]]
    ) -> tuple[int, str]:
        self._committed.value = commit([])
        return self._committed.value


class NoLanes:
    def wake(self) -> None: ...
    def close(self) -> None: ...
    def stop(self) -> None: ...


async def test_the_worker_reads_all_that_responses_knows_where_the_log_lost_its_end() -> None:
    topic = Topic()
    log, committed = a_day(Limits(), topic)
    del log[-2:]
    consumer: Any = Consumer(log)
    offsets: Any = Committed(committed)
    writer: Any = Writer(offsets)
    worker = worker_of(consumer, offsets, topic, writer, Random(1))
    await worker._take_over()
    assert consumer.sought == [0]
    assert offsets.value == (0, CommitMetadata(0, clean=False).encode())
    worker.pipeline.consume(log, len(log), 0.0)
    assert publish(worker.pipeline, "c") == 0


class FailsTwice(Writer):
    failures = 2

    async def start(self) -> None:
        if self.failures:
            self.failures -= 1
            raise KafkaUnavailable("away")


class Seen(Random):
    draws = 0

    def random(self) -> float:
        self.draws += 1
        return 0.0


async def test_each_wait_before_a_retry_is_drawn_by_chance() -> None:
    offsets: Any = Committed((0, ""))
    consumer: Any = Consumer([])
    writer: Any = FailsTwice(offsets)
    seen = Seen()
    await worker_of(consumer, offsets, Topic(), writer, seen)._take_over()
    assert seen.draws == 2


def worker_of(consumer: Any, offsets: Any, topic: Topic, writer: Any, random: Random) -> PartitionWorker:
    parts = WorkerParts(
        consumer=consumer,
        committed=offsets,
        responses=topic,
        writer_of=lambda _: writer,
        lanes_of=lambda *_: NoLanes(),
        decoder=Decoder(),
        metrics=Metrics(),
        clock=Clock(),
        random=random,
        measures=NoMeasures(),
        responses_topic="responses",
        dead_letters_topic="dead-letters",
        dead_letter_bytes=1 << 20,
        controls=RelayControls(Clock(), Random(1)),
    )
    return PartitionWorker(0, parts, writer, Limits())
