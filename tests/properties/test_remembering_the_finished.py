"""A successor reads back a finished response for as long as what may repeat it is still to be read."""

import orjson
import pytest

from processor.core.framer import Frame
from processor.core.limits import Limits
from processor.core.outflow import AskHistory
from processor.core.partition import PartitionPipeline
from simulation.log import LogRecord
from topics.codec import Decoder

TTL = 300.0
EVENTS = ({"event": "start", "channel": "c"}, {"event": "token", "text": "x"}, {"event": "stop"})
VALUES = [orjson.dumps({"responseId": "r0", "seq": seq, **event}) for seq, event in enumerate(EVENTS)]


def ended() -> PartitionPipeline:
    """A pipeline whose only response has ended, durably, at second 0."""
    pipeline = PartitionPipeline(Decoder(), Limits(finished_ttl=TTL))
    pipeline.begin(0, 0, clean=True)
    pipeline.consume([LogRecord(offset, value, b"k", 0) for offset, value in enumerate(VALUES)], 3, 0.0)
    while (frame := pipeline.next_frame("c", 0.0)) is not None:
        assert not isinstance(frame, AskHistory)
        pipeline.done(frame, 0.0)
    write(pipeline, 0.0)
    return pipeline


def write(pipeline: PartitionPipeline, now: float) -> int:
    """The `responses` offset from which a successor reads."""
    batch = pipeline.collect(0)
    end = pipeline._write_queue.responses_end
    point = pipeline.commit_point(batch, range(end, end + len(batch.saves)))
    pipeline.committed(batch, point, now)
    return point.restore


def pass_time(pipeline: PartitionPipeline, until: float, end: int | None) -> None:
    """Time passes. Kafka reports that the partition ends at `end`; None while it does not answer."""
    now = 0.0
    while now < until:
        now += 10.0
        pipeline.tick(now)
        if end is None:
            pipeline.unreachable(now)
        elif pipeline.wants_end_offset:
            pipeline.end_offset(now, end, now)
        write(pipeline, now)


def test_an_end_is_read_back_while_what_came_soon_after_it_waits_unread() -> None:
    pipeline = ended()
    pass_time(pipeline, 2 * TTL, end=4)  # as while the partition is paused
    assert write(pipeline, 2 * TTL) == 0


def test_an_end_is_read_back_while_producers_may_hold_back_what_repeats_it() -> None:
    pipeline = ended()
    pass_time(pipeline, 2 * TTL, end=None)
    pipeline.tick(2 * TTL + 1)
    assert write(pipeline, 2 * TTL + 1) == 0


def test_an_end_is_not_read_back_once_all_was_read_that_came_soon_after_it() -> None:
    pipeline = ended()
    pass_time(pipeline, 1.2 * TTL, end=3)
    assert write(pipeline, 1.2 * TTL) == 1


@pytest.mark.parametrize("late", [VALUES[0], VALUES[1], orjson.dumps({"responseId": "r0", "seq": 9, **EVENTS[1]})])
def test_an_end_is_read_back_while_a_successor_reads_late_records_of_it_again(late: bytes) -> None:
    pipeline = ended()
    other = orjson.dumps({"responseId": "r1", "seq": 0, "event": "start", "channel": "d"})
    pipeline.consume([LogRecord(3, other, b"k", 0), LogRecord(4, late, b"k", 0)], 5, 1.0)
    frame = pipeline.next_frame("d", 1.0)
    pass_time(pipeline, 2 * TTL, end=5)
    assert write(pipeline, 2 * TTL) == 0
    assert isinstance(frame, Frame)
    pipeline.done(frame, 2 * TTL)
    pass_time(pipeline, 3 * TTL, end=5)
    assert write(pipeline, 3 * TTL) == 1


def test_kafka_is_asked_seldom_for_the_sake_of_forgetting_alone() -> None:
    pipeline, asked = ended(), 0
    for tick in range(10_000):
        now = TTL + 1 + tick / 100
        pipeline.tick(now)
        pipeline.unreachable(now)  # so that it can't be forgotten
        if pipeline.wants_end_offset:
            asked += 1
            pipeline.end_offset(now, 3, now)
    assert 1 < asked <= 100 / (TTL / 8) + 1
