"""Reading the tail of a topic while no broker answers."""

import gc
import warnings

import pytest

from processor.errors import KafkaUnavailable
from processor.kafka.connection import KafkaConnection
from processor.kafka.log_follower import LogTail


async def test_a_tail_that_can_not_be_read_leaves_no_client_open() -> None:
    tail = LogTail(lambda: KafkaConnection("127.0.0.1:1"), "frames")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(KafkaUnavailable):
            await tail.bounds(0)
        gc.collect()
    assert not [str(each.message) for each in warned if "Unclosed" in str(each.message)]
