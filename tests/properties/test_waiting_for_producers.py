"""While Kafka is unreachable, producers cannot write the awaited records: the wait starts again when it is back."""

import re

import orjson

from processor.core.limits import Limits
from processor.core.partition import PartitionPipeline
from processor.core.response import Phase
from simulation.log import LogRecord
from topics.codec import Decoder

LIMITS = Limits(gap_timeout=2, idle_timeout=60)


def pipeline_of(*events: dict[str, object]) -> PartitionPipeline:
    """A pipeline that consumed these of one response at second 0."""
    pipeline = PartitionPipeline(Decoder(re.compile("chat:.*")), LIMITS)
    pipeline.begin(0, 0, clean=True)
    values = [orjson.dumps({"responseId": "r0", "channel": "chat:0", **event}) for event in events]
    pipeline.consume([LogRecord(offset, value, b"r0", 0) for offset, value in enumerate(values)], len(values), 0.0)
    return pipeline


def look(pipeline: PartitionPipeline, now: float) -> None:
    """Time passes, and Kafka reports that there is no more."""
    pipeline.tick(now)
    if pipeline.wants_end_offset:
        pipeline.end_offset(now, pipeline.position, now)


def phase(pipeline: PartitionPipeline) -> Phase:
    (response,) = pipeline.open_responses.values()
    return response.phase


def test_a_response_is_not_abandoned_for_the_time_kafka_was_away() -> None:
    pipeline = pipeline_of({"event": "start", "seq": 0})
    pipeline.unreachable(70.0)
    look(pipeline, 71.0)
    look(pipeline, 129.9)
    assert phase(pipeline) is Phase.OPEN
    look(pipeline, 130.1)
    assert phase(pipeline) is Phase.ENDING


def test_a_gap_is_not_given_up_for_the_time_kafka_was_away() -> None:
    pipeline = pipeline_of({"event": "start", "seq": 0}, {"event": "token", "seq": 2, "text": "c"})
    (response,) = pipeline.open_responses.values()
    pipeline.unreachable(10.0)
    look(pipeline, 10.1)
    look(pipeline, 11.9)
    assert not response.decided_gaps
    look(pipeline, 12.1)
    assert response.decided_gaps == [(1, 1)]


def test_without_an_outage_a_gap_waits_no_longer_than_its_timeout() -> None:
    pipeline = pipeline_of({"event": "start", "seq": 0}, {"event": "token", "seq": 2, "text": "c"})
    (response,) = pipeline.open_responses.values()
    look(pipeline, 1.9)
    assert not response.decided_gaps
    look(pipeline, 2.1)
    assert response.decided_gaps == [(1, 1)]
