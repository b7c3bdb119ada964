"""A pipeline reports since when its oldest token waits, wherever the token is: early, queued or sent."""

import orjson

from processor.core.framer import Frame
from processor.core.limits import Limits
from processor.core.partition import PartitionPipeline
from support.world import LogRecord
from topics.codec import Decoder


def pipeline_at_zero() -> PartitionPipeline:
    pipeline = PartitionPipeline(Decoder(), Limits())
    pipeline.restore((), 0, 0.0)
    pipeline.begin(0, 0, clean=True)
    return pipeline


def consume(pipeline: PartitionPipeline, offset: int, now: float, **fields: object) -> None:
    value = orjson.dumps({"event": "token", "responseId": "r", **fields})
    pipeline.consume([LogRecord(offset, value, b"r")], offset + 1, now)


def send(pipeline: PartitionPipeline, now: float) -> Frame:
    frame = pipeline.next_frame("c", now)
    assert isinstance(frame, Frame)
    return frame


def test_a_token_waits_from_its_reading_to_its_acknowledgement() -> None:
    pipeline = pipeline_at_zero()
    assert pipeline.oldest_unsent_at() is None
    consume(pipeline, 0, 1.0, event="start", seq=0, channel="c")
    pipeline.done(send(pipeline, 1.0), 1.0)
    assert pipeline.oldest_unsent_at() is None, "a start is no token"
    consume(pipeline, 1, 2.0, seq=1, text="a")
    consume(pipeline, 2, 3.0, seq=2, text="b")
    assert pipeline.oldest_unsent_at() == 2.0
    frame = send(pipeline, 4.0)
    assert pipeline.oldest_unsent_at() == 2.0
    pipeline.done(frame, 4.0)
    assert pipeline.oldest_unsent_at() is None


def test_an_early_token_waits_too() -> None:
    pipeline = pipeline_at_zero()
    consume(pipeline, 0, 1.0, event="start", seq=0, channel="c")
    pipeline.done(send(pipeline, 1.0), 1.0)
    consume(pipeline, 1, 2.0, seq=2, text="b")
    assert pipeline.oldest_unsent_at() == 2.0
    consume(pipeline, 2, 3.0, seq=1, text="a")
    assert pipeline.oldest_unsent_at() in (2.0, 3.0)
    pipeline.done(send(pipeline, 4.0), 4.0)
    assert pipeline.oldest_unsent_at() is None
