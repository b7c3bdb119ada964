"""A token that is neither in the record nor published is a dead letter, whoever reads it."""

import orjson

from processor.core.limits import Limits
from processor.core.outflow import AskHistory
from processor.core.partition import PartitionPipeline
from support.world import LogRecord
from topics.codec import Decoder, decode_response, encode_response
from topics.records import Reason

LOG = [
    LogRecord(offset, orjson.dumps(fields))
    for offset, fields in enumerate(
        (
            {"event": "start", "responseId": "a", "seq": 0, "channel": "slow"},
            {"event": "start", "responseId": "s", "seq": 0, "channel": "c"},
            {"event": "start", "responseId": "r", "seq": 0, "channel": "c"},
            {"event": "token", "responseId": "r", "seq": 2, "text": "2"},
            {"event": "token", "responseId": "r", "seq": 1, "text": "1", "part": "reasoning", "kind": "reasoning"},
        )
    )
]


def taken_over() -> PartitionPipeline:
    """The successor of one that crashed with seq 1 acknowledged, and seq 2, which is before it in the log, waiting."""
    first = PartitionPipeline(Decoder(), Limits())
    first.begin(0, 0, clean=True)
    first.consume(LOG, 5, 0.0)
    first.next_frame("slow", 0.0)
    while first.open_responses["r"].acked_seq < 1:
        frame = first.next_frame("c", 0.0)
        assert frame is not None
        assert not isinstance(frame, AskHistory)
        first.done(frame, 0.0)
    first.snapshot_all()
    batch = first.collect(1)
    offset = first.commit_point(batch, range(len(batch.saves))).offset
    records = [(number, save.record) for number, save in enumerate(batch.saves) if save.record.response_id == "r"]
    entries = [(number, record.response_id, decode_response(encode_response(record))) for number, record in records]
    second = PartitionPipeline(Decoder(), Limits())
    second.restore(entries, 9, 0.0)
    second.begin(offset, 5, clean=False)
    assert offset == 0
    return second


def refuse(pipeline: PartitionPipeline) -> None:
    assert isinstance(pipeline.next_frame("c", 0.0), AskHistory)
    pipeline.history("c", {}, 0.0)
    frame = pipeline.next_frame("c", 0.0)
    assert frame is not None
    assert not isinstance(frame, AskHistory)
    pipeline.refused(frame, 40160, "no", 0.0)


def test_a_token_refused_after_a_takeover_is_a_dead_letter() -> None:
    pipeline = taken_over()
    pipeline.consume(LOG[:2], 2, 0.0)
    refuse(pipeline)
    pipeline.consume(LOG[2:], 5, 0.0)
    letters = [(letter.reason, letter.raw.offset) for letter in pipeline.collect(2).dead_letters]
    assert letters == [(Reason.UNPUBLISHABLE, 1), (Reason.UNPUBLISHABLE, 3)], "offset 4 is in the record"


def test_what_a_refusal_leaves_unread_the_next_owner_puts_into_the_dead_letters() -> None:
    second = taken_over()
    second.consume(LOG[:2], 2, 0.0)
    refuse(second)
    batch = second.collect(2)
    entries = [(9 + number, save.record.response_id, save.record) for number, save in enumerate(batch.saves)]
    third = PartitionPipeline(Decoder(), Limits())
    third.restore(entries, 20, 0.0)
    third.begin(0, 5, clean=False)
    third.consume(LOG, 5, 0.0)
    letters = [(letter.reason, letter.raw.offset) for letter in third.collect(3).dead_letters]
    assert letters == [(Reason.UNPUBLISHABLE, 3)]
