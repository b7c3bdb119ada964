"""What a predecessor decided holds, also where the sequence comes to it by another way than it came then."""

import orjson
import pytest

from processor.core.limits import Limits
from processor.core.partition import PartitionPipeline
from simulation.log import LogRecord
from topics.codec import Decoder
from topics.records import JsonObject, Reason, ResponseRecord, Status

LIMITS = Limits(gap_timeout=2, idle_timeout=60)


def successor(**decided: object) -> PartitionPipeline:
    """A pipeline that takes over a response acknowledged up to number 9."""
    relay: JsonObject = {"offset": 9, "start": "digest", "decided": decided}
    record = ResponseRecord(
        response_id="r0",
        channel="chat:0",
        status=Status.STREAMING,
        seq=9,
        tokens=9,
        started_at=0,
        updated_at=0,
        relay=relay,
    )
    pipeline = PartitionPipeline(Decoder(), LIMITS)
    pipeline.restore([(0, "r0", record)], 1, 0.0)
    pipeline.begin(20, 20, clean=True)
    return pipeline


def feed(pipeline: PartitionPipeline, *numbers: int) -> None:
    events = [{"event": "token", "responseId": "r0", "seq": seq, "text": "x"} for seq in numbers]
    first = pipeline.position
    records = [LogRecord(first + index, orjson.dumps(event), b"k", 0) for index, event in enumerate(events)]
    pipeline.consume(records, first + len(records), 0.0)


def wait(pipeline: PartitionPipeline, until: float) -> None:
    """Time passes, and Kafka reports that there is no more."""
    pipeline.tick(until)
    pipeline.end_offset(until, pipeline.position, until)


def gaps(pipeline: PartitionPipeline) -> list[tuple[int, int]]:
    (response,) = pipeline.open_responses.values()
    return response.decided_gaps


def test_a_gap_given_up_ends_before_one_that_is_decided() -> None:
    pipeline = successor(gaps=[[11, 14], [23, 23]])
    feed(pipeline, 16, 24)
    wait(pipeline, 2.1)
    wait(pipeline, 4.3)
    wait(pipeline, 6.5)
    assert gaps(pipeline) == [(10, 10), (11, 14), (15, 15), (17, 22), (23, 23)]


def test_a_record_of_any_gap_given_up_is_late() -> None:
    pipeline = successor(gaps=[[11, 14], [23, 23]])
    feed(pipeline, 16, 24)
    for until in (2.1, 4.3, 6.5):
        wait(pipeline, until)
    feed(pipeline, 10, 13, 15, 20, 23)
    letters = pipeline.collect(0).dead_letters
    found = [(orjson.loads(letter.raw.value or b"")["seq"], letter.reason) for letter in letters]
    assert found == [(seq, Reason.LATE) for seq in (10, 13, 15, 20, 23)]


def test_a_gap_given_up_ends_before_a_decided_end() -> None:
    pipeline = successor(end={"reason": "abandoned", "seq": 12})
    feed(pipeline, 14)
    wait(pipeline, 2.1)
    (response,) = pipeline.open_responses.values()
    assert gaps(pipeline) == [(10, 11)]
    assert response.next_seq == 13


@pytest.mark.parametrize("end", [None, {"reason": "abandoned", "seq": 15}])
def test_an_idle_response_ends_after_all_that_is_decided(end: JsonObject | None) -> None:
    decided: JsonObject = {"gaps": [[11, 14]]} | ({"end": end} if end else {})
    pipeline = successor(**decided)
    wait(pipeline, 61.0)
    (response,) = pipeline.open_responses.values()
    assert sorted(gaps(pipeline)) == [(10, 10), (11, 14)]
    assert response.decided_end is not None
    assert response.decided_end.seq == 15
