"""The tail of the frames topic: what was published on a channel, read once for all that ask."""

import asyncio
import json
from collections.abc import Callable, Sequence

import pytest

from processor.core.framer import Frame
from processor.direct.encoding import frame_value as encoded
from processor.direct.tail import BLOCK, FORGET_AFTER, FramesTail, past_message
from processor.errors import KafkaUnavailable, PublishRetry
from processor.gateway.events import read_frame
from processor.ports.followed import FollowedRecord
from simulation.loop import VirtualLoop
from support.gateway_log import frame_value, start, stop, token
from support.virtual_time import run_in_virtual_time


class CountedTail:
    """A partition in memory, and how much of it was read."""

    def __init__(self, values: Sequence[bytes], first: int = 0) -> None:
        self.records = [FollowedRecord(0, first + index, 0, b"", value) for index, value in enumerate(values)]
        self._first = first
        self.reads: list[tuple[int, int]] = []
        self.counts = 0
        self.down = False

    async def partitions(self) -> int:
        self.counts += 1
        return 1

    async def bounds(self, number: int) -> tuple[int, int]:
        if self.down:
            raise KafkaUnavailable("no broker")
        return self._first, self._first + len(self.records)

    async def read(self, number: int, start: int, end: int, take: Callable[[Sequence[FollowedRecord]], None]) -> None:
        self.reads.append((start, end))
        await asyncio.sleep(0)
        take(self.records[start - self._first : end - self._first])

    async def stop(self) -> None:
        pass


def tail_of(reader: CountedTail) -> FramesTail:
    return FramesTail(reader, lambda _channel, _count: 0)


async def test_what_was_published_is_shown_by_response() -> None:
    reader = CountedTail([start(), token(1, 0, "Hel"), token(2, 3, "lo"), stop(3, {}), token(1, 0, "x", "r2", "other")])
    history = await tail_of(reader).read("chat:1", 5.0)
    assert set(history.published) == {"r1"}
    assert history.published["r1"].seq_end == 3
    assert history.published["r1"].lengths == {"text": 5}
    assert history.published["r1"].stopped
    assert "r1/token/2-2/3" in history.ids


async def test_the_newest_records_are_read_first() -> None:
    reader = CountedTail([token(1, 0, "x")] * (2 * BLOCK + 10), first=100)
    await tail_of(reader).read("chat:1", 5.0)
    assert reader.reads == [(BLOCK + 110, 2 * BLOCK + 110), (110, BLOCK + 110), (100, 110)]


async def test_a_second_question_reads_only_what_is_new() -> None:
    reader = CountedTail([token(1, 0, "x")])
    tail = tail_of(reader)
    await tail.read("chat:1", 5.0)
    reader.records.append(FollowedRecord(0, 1, 0, b"", token(2, 1, "y")))
    history = await tail.read("chat:1", 5.0)
    assert reader.reads == [(0, 1), (1, 2)]
    assert history.published["r1"].lengths == {"text": 2}


async def test_many_that_ask_at_once_share_two_readings() -> None:
    reader = CountedTail([token(1, 0, "x")] * 10)
    tail = tail_of(reader)
    await asyncio.gather(*(tail.read(f"c{number}", 5.0) for number in range(100)))
    assert len(reader.reads) <= 2
    assert reader.counts <= 100


def test_what_nobody_asks_about_any_more_is_released() -> None:
    async def play(_loop: VirtualLoop) -> None:
        tail = tail_of(CountedTail([token(1, 0, "x")] * 10))
        await tail.read("chat:1", 5.0)
        await asyncio.sleep(FORGET_AFTER / 2)
        await tail.read("chat:1", 5.0)
        await asyncio.sleep(FORGET_AFTER)
        assert len(tail) == 10
        await asyncio.sleep(FORGET_AFTER + 2)
        assert len(tail) == 0

    run_in_virtual_time(play)


async def test_all_partitions_together_keep_no_more_than_is_allowed() -> None:
    value = token(1, 0, "x")
    reader = CountedTail([value] * 3 * BLOCK)
    tail = FramesTail(reader, lambda channel, _count: int(channel), enough=2 * BLOCK, enough_of_all=3 * BLOCK)
    kept = []
    for number in range(4):
        await tail.read(str(number), 60.0)
        kept.append(len(tail))
    assert kept == [2 * BLOCK, 3 * BLOCK, 3 * BLOCK, 3 * BLOCK]


async def test_a_log_that_began_again_is_read_again() -> None:
    reader = CountedTail([token(1, 0, "x")] * 10)
    tail = tail_of(reader)
    await tail.read("chat:1", 5.0)
    del reader.records[1:]
    history = await tail.read("chat:1", 5.0)
    assert history.published["r1"].lengths == {"text": 1}


async def test_a_tail_that_can_not_be_read_is_told() -> None:
    reader = CountedTail([])
    reader.down = True
    with pytest.raises(PublishRetry):
        await tail_of(reader).read("chat:1", 5.0)


@pytest.mark.parametrize("value", [None, b"{", b"[]", b'{"channel":1}'])
def test_a_record_that_is_no_frame_is_passed_over(value: bytes | None) -> None:
    assert past_message(value) is None


def test_a_frame_is_written_in_the_form_of_the_contract() -> None:
    headers = {"responseId": "r1", "seq": "1", "seqEnd": "1", "offset": "0"}
    frame = Frame(
        channel="chat:1",
        response_id="r1",
        name="token",
        id="r1/token/1-1/0",
        data="Grüße 👋",
        json=False,
        headers=headers,
        oldest_ts=1_000,
    )
    value = encoded(frame, 5_000)
    assert json.loads(value) == {
        "channel": "chat:1",
        "name": "token",
        "id": "r1/token/1-1/0",
        "data": "Grüße 👋",
        "headers": headers,
        "ts": 1_000,
    }
    assert (
        value
        == json.dumps(
            json.loads(frame_value("token", "Grüße 👋", seq=1, seqEnd=1, offset=0)),
            separators=(",", ":"),
            ensure_ascii=False,
        ).encode()
    )
    read = read_frame(0, 0, 0, value)
    assert read is not None
    assert read.frame.data == "Grüße 👋"


def test_objects_stay_objects_and_frames_without_tokens_have_the_time_of_publishing() -> None:
    frame = Frame(
        channel="c", response_id="r", name="gap", id="r/gap/1-2/0", data='{"from":1,"to":2}', json=True, headers={}
    )
    assert json.loads(encoded(frame, 5_000)) == {
        "channel": "c",
        "name": "gap",
        "id": "r/gap/1-2/0",
        "data": {"from": 1, "to": 2},
        "headers": {},
        "ts": 5_000,
    }
    nothing = Frame(channel="c", response_id="r", name="start", id="i", data=None, json=False, headers={})
    assert json.loads(encoded(nothing, 1))["data"] is None
