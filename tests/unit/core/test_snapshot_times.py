"""Open responses of a partition are snapshotted together, so that one transaction has several."""

from random import Random

import orjson

from processor.core.framer import Frame
from processor.core.limits import Limits
from processor.core.partition import PartitionPipeline
from processor.core.timers import SNAPSHOT_BYTES_TOGETHER, SNAPSHOTS_TOGETHER, SnapshotTimes
from processor.core.write_queue import Batch
from support.examples import examples
from support.world import LogRecord
from topics.codec import Decoder

INTERVAL = 4.0


def test_a_time_is_after_the_interval_or_after_half_of_it_at_least() -> None:
    random = Random(1)
    for _ in range(examples(20)):
        times, now = SnapshotTimes(INTERVAL), random.uniform(0.0, 100.0)
        for _ in range(200):
            assert now + INTERVAL / 2 <= times.next(now, 100) <= now + INTERVAL
            now += random.choice((0.0, 0.001, random.expovariate(1.0)))


def test_what_changes_within_half_an_interval_shares_a_time() -> None:
    times = SnapshotTimes(INTERVAL)
    assert [times.next(now, 100) for now in (10.0, 11.0, 12.0)] == [14.0] * 3
    assert times.next(12.1, 100) == 16.1


def test_a_time_is_shared_by_no_more_than_are_encoded_at_once() -> None:
    times = SnapshotTimes(INTERVAL)
    shared = [times.next(10.0 + number / 1_000, 100) for number in range(SNAPSHOTS_TOGETHER + 1)]
    assert shared == [14.0] * SNAPSHOTS_TOGETHER + [14.0 + SNAPSHOTS_TOGETHER / 1_000]


def test_large_responses_share_no_time() -> None:
    times = SnapshotTimes(INTERVAL)
    size = SNAPSHOT_BYTES_TOGETHER // 2 + 1
    assert [times.next(now, size) for now in (10.0, 10.1, 10.2)] == [14.0, 14.1, 14.2]
    assert times.next(10.3, 100) == 14.2


def consume(pipeline: PartitionPipeline, now: float, *events: dict[str, object]) -> None:
    """Consumes the events, and has all of their frames acknowledged."""
    records = [
        LogRecord(offset, orjson.dumps(event), b"k") for offset, event in enumerate(events, start=pipeline.position)
    ]
    pipeline.consume(records, pipeline.position + len(records), now)
    for channel in pipeline.take_woken():
        while pipeline.waits(channel):
            frame = pipeline.next_frame(channel, now)
            assert isinstance(frame, Frame)
            pipeline.done(frame, now)


def start(name: str) -> dict[str, object]:
    return {"event": "start", "responseId": name, "seq": 0, "channel": name}


def token(name: str, seq: int) -> dict[str, object]:
    return {"event": "token", "responseId": name, "seq": seq, "text": "a"}


def written_at(pipeline: PartitionPipeline, now: float) -> Batch | None:
    """What is written then, and committed."""
    pipeline.tick(now)
    if not pipeline.wants_write:
        return None
    batch = pipeline.collect(0)
    point = pipeline.commit_point(batch, range(len(batch.saves)))
    pipeline.committed(batch, point, now)
    return batch


def test_responses_that_change_all_the_time_are_written_in_one_transaction_an_interval() -> None:
    pipeline = PartitionPipeline(Decoder(), Limits(snapshot_interval=INTERVAL))
    pipeline.restore((), 0, 0.0)
    pipeline.begin(0, 0, clean=True)
    names = [f"r{number}" for number in range(5)]
    for number, name in enumerate(names):
        consume(pipeline, number / 10, start(name))
    batches = []
    for step in range(1, int(60 * INTERVAL)):
        now = step / 10
        consume(pipeline, now, *(token(name, step) for name in names))
        if (batch := written_at(pipeline, now)) is not None:
            batches.append(batch)
    assert [len(batch.saves) for batch in batches] == [len(names)] * 5
    assert {save.record.seq for save in batches[-1].saves} == {int(50 * INTERVAL)}
