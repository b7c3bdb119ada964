"""A producer that starts a response in a forbidden channel is notified that no reader gets it."""

import re

import orjson

from processor.core.limits import Limits
from processor.core.partition import PartitionPipeline
from processor.core.write_queue import Unwanted
from support.world import LogRecord
from topics.codec import Decoder
from topics.records import Reason


def test_a_forbidden_channel_is_a_dead_letter_and_unwanted() -> None:
    pipeline = PartitionPipeline(Decoder(re.compile("chat:.*")), Limits())
    pipeline.begin(0, 0, clean=True)
    start = {"event": "start", "responseId": "r", "seq": 0, "channel": "else:1"}
    pipeline.consume([LogRecord(0, orjson.dumps(start))], 1, 0.0)
    batch = pipeline.collect(1)
    assert [letter.reason for letter in batch.dead_letters] == [Reason.CHANNEL_FORBIDDEN]
    assert batch.unwanted == (Unwanted("r", "else:1", "channel_forbidden"),)
