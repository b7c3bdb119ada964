"""A partition is reported unreadable for as long as its newest answer is a fault."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from processor.kafka.record_batches.batches import Trouble
from processor.kafka.record_batches.fetches import FAILED_READS, Fetches
from processor.kafka.record_batches.reports import advice_on

PLACE = TopicPartition("t", 0)


def answer(fetches: Fetches, code: int, *, at: int = 100, end: int = 100, data: bytes = b"") -> None:
    request: Any = SimpleNamespace(API_VERSION=4, topics=[("t", [(0, at, 1_000)])])
    fetches.answered(request, SimpleNamespace(API_VERSION=4, topics=[("t", [(0, code, end, end, [], data)])]))


def reading() -> Fetches:
    return Fetches(limit=1 << 20, make=None, refuse=lambda *_: None, noted=lambda _: None)


@pytest.mark.parametrize("code", sorted(FAILED_READS))
@pytest.mark.parametrize("data", [b"", b"a batch"])
async def test_a_broker_that_answers_again_can_read_again(code: int, data: bytes) -> None:
    fetches = reading()
    answer(fetches, code)
    assert fetches.troubles[PLACE].of_broker
    answer(fetches, 6)  # not the leader: no information about its log
    assert PLACE in fetches.troubles
    answer(fetches, 0, data=data)
    assert fetches.troubles == {}


async def test_a_corrupt_batch_stays_until_it_is_gone_or_passed() -> None:
    fetches = reading()
    corrupt = Trouble("t", 0, 100, 110, "the checksum is wrong")
    fetches.note(corrupt)
    answer(fetches, 0, end=200)  # a broker that throttles sends nothing
    answer(fetches, 0, end=200, data=b"a batch")
    answer(fetches, 0, at=90, end=200)
    assert fetches.troubles == {PLACE: corrupt}
    answer(fetches, 0, end=100)
    assert fetches.troubles == {}
    fetches.note(corrupt)
    answer(fetches, 0, at=110, end=200)
    assert fetches.troubles == {}


def test_only_a_batch_that_is_corrupt_is_to_be_skipped() -> None:
    assert "tokenstream skip 0 100" in advice_on(Trouble("t", 0, 100, 110, "the checksum is wrong"))
    of_broker = Trouble("t", 0, 100, None, "the broker answers KafkaStorageError", of_broker=True)
    assert "skip" not in advice_on(of_broker)
