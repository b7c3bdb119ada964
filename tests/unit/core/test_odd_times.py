"""A `ts` in another unit, or none, changes no order, no end, and no record beyond its own fields."""

import orjson
import pytest

from processor.core.limits import Limits
from processor.core.outflow import AskHistory
from processor.core.partition import PartitionPipeline
from support.world import LogRecord
from topics.codec import Decoder, decode_response, encode_response
from topics.records import ResponseRecord, Status

LATEST = 2**53 - 1


def ended(stamps: tuple[int | None, ...], timestamp: int) -> ResponseRecord:
    """The final record of start, two tokens and stop with these `ts`."""
    events = [
        {"event": "start", "channel": "c"},
        {"event": "token", "text": "Hi"},
        {"event": "token", "text": " there"},
        {"event": "stop"},
    ]
    raws = [
        LogRecord(
            seq,
            orjson.dumps({"responseId": "r", "seq": seq, **event, **({} if ts is None else {"ts": ts})}),
            timestamp=timestamp,
        )
        for seq, (event, ts) in enumerate(zip(events, stamps, strict=True))
    ]
    pipeline = PartitionPipeline(Decoder(), Limits())
    pipeline.begin(0, 0, clean=True)
    for raw in raws:
        pipeline.consume([raw], raw.offset + 1, 0.0)
        while (frame := pipeline.next_frame("c", 0.0)) is not None:
            assert not isinstance(frame, AskHistory)
            pipeline.done(frame, 0.0)
        pipeline.snapshot_all()
        batch = pipeline.collect(1_763_860_000_000)
        pipeline.committed(batch, pipeline.commit_point(batch, range(len(batch.saves))), 0.0)
    assert pipeline.status().open_responses == 0
    record = decode_response(encode_response(batch.saves[0].record))
    assert (record.status, record.text) == (Status.COMPLETE, "Hi there")
    return record


@pytest.mark.parametrize("odd", [0, LATEST, 1_763_860_000_031_000])
@pytest.mark.parametrize("at", range(4))
def test_one_odd_ts_ends_a_response_as_any_other(odd: int, at: int) -> None:
    stamps = [1_763_860_000_000, 1_763_860_000_031, 1_763_860_000_062, 1_763_860_000_093]
    stamps[at] = odd
    record = ended(tuple(stamps), 1_763_860_000_000)
    assert record.started_at == stamps[0]
    assert record.first_token_at == stamps[1]
    assert record.updated_at == max(stamps)
    assert record.finished_at == (stamps[3] or 1_763_860_000_000)


@pytest.mark.parametrize("timestamp", [-1, -(2**63), 2**63 - 1])
def test_a_kafka_timestamp_that_is_no_time_gives_a_record_that_is_valid(timestamp: int) -> None:
    record = ended((None,) * 4, timestamp)
    times = (record.started_at, record.first_token_at, record.updated_at, record.finished_at)
    assert all(time is not None and 0 <= time <= LATEST for time in times)
