"""What an open response that waits for its next token takes in memory, in the core: traced bytes beside its text."""

import gc
import tracemalloc

import pytest

from processor.core.response import Raw
from support.guards import Partition
from support.world import LogRecord
from topics.codec import encode_token_event
from topics.records import Event

COUNT = 500
TEXT = "日本 and 🙂 " * 20
MOST = 1_800
"""Bytes: 1,670 when this was written, and 3,960 when each had empty containers and a lane, and kept its text as a string."""


def opened(prefix: str) -> list[Raw]:
    """The starts of responses on channels of their own, and a text for each."""
    ids = [f"{prefix}-{number:04d}" for number in range(COUNT)]
    starts = [
        encode_token_event(Event.START, each, 0, ts=1, channel=f"chat:{each}", metadata={"m": "l"}) for each in ids
    ]
    texts = [encode_token_event(Event.TOKEN, each, 1, ts=1, text=TEXT) for each in ids]
    return [LogRecord(offset, value, b"k") for offset, value in enumerate(starts + texts)]


def taken_in(partition: Partition, records: list[Raw], first: int) -> int:
    """Returns the traced bytes that the responses take once they are published and durable."""
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    partition.take_in([LogRecord(first + raw.offset, raw.value, raw.key) for raw in records])
    partition.pipeline.snapshot_all()
    partition.write()
    gc.collect()
    return tracemalloc.get_traced_memory()[0] - before


@pytest.mark.costly
def test_an_open_response_takes_little_beside_its_text() -> None:
    warm, measured, partition = opened("warm"), opened("measured"), Partition()
    tracemalloc.start()
    try:
        taken_in(partition, warm, 0)
        each = taken_in(partition, measured, len(warm)) / COUNT
    finally:
        tracemalloc.stop()
    assert partition.pipeline.status().open_responses == 2 * COUNT
    print(f"{each:.0f} bytes, of them {len(TEXT.encode())} of text")
    assert each - len(TEXT.encode()) < MOST
