"""Whatever timestamp Kafka gives a record, its response can be stored."""

import orjson
import pytest

from processor.core.durable import record_of, restored
from processor.core.limits import Limits
from processor.core.outflow import AskHistory
from processor.core.partition import PartitionPipeline
from processor.ports.store import check_storable
from support.world import LogRecord
from topics.codec import Decoder
from topics.records import ResponseRecord, Status


def event(offset: int, timestamp: int | None, **fields: object) -> LogRecord:
    value = orjson.dumps({"responseId": "r-1", "seq": offset, **fields})
    return LogRecord(offset, value, b"k", timestamp)


@pytest.mark.parametrize("timestamp", [-1, None, -(2**63), 2**63 - 1, 2**53, 2**53 - 1, 10**14, 0, 1_763_860_000_000])
def test_any_timestamp_gives_a_record_that_a_store_takes(timestamp: int | None) -> None:
    pipeline = PartitionPipeline(Decoder(None), Limits())
    pipeline.begin(0, 0, clean=True)
    pipeline.consume(
        [
            event(0, timestamp, event="start", channel="chat:1"),
            event(1, timestamp, event="token", text="a"),
            event(2, timestamp, event="stop"),
        ],
        3,
        0.0,
    )
    while (taken := pipeline.next_frame("chat:1", 0.0)) is not None:
        assert not isinstance(taken, AskHistory)
        pipeline.done(taken, 0.0)
    (save,) = pipeline.collect(1_763_860_000_000).saves
    check_storable(save.record)
    assert save.record.finished
    assert save.record.started_at == (timestamp if timestamp is not None and 0 <= timestamp < 2**53 else 0)


@pytest.mark.parametrize("time", [-1, 2**53])
def test_an_open_record_with_such_a_time_is_taken_up(time: int) -> None:
    record = ResponseRecord(
        response_id="r-1",
        channel="chat:1",
        status=Status.STREAMING,
        seq=1,
        started_at=time,
        first_token_at=time,
        updated_at=time,
    )
    taken_up = record_of(restored(record, 0, 0.0), 1_763_860_000_000)
    check_storable(taken_up)
    assert (taken_up.started_at, taken_up.first_token_at, taken_up.updated_at) == (0, 0, 0)
