"""The feed gives the hub both topics, in the right order, whatever Kafka does meanwhile."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from random import Random
from typing import Any

import pytest

from processor.clock import Clock
from processor.errors import KafkaUnavailable
from processor.gateway.feed import Feed
from processor.gateway.hub import Hub, HubLimits
from processor.ports.followed import FollowedRecord
from support.gateway_log import record_value, start, token
from support.virtual_time import in_virtual_time
from support.waiting import eventually, until

MIB = 1024 * 1024


class MemoryLog:
    """A topic in memory. `first` is where it begins: what was before is gone."""

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self.records: list[list[FollowedRecord]] = [[] for _ in range(count)]
        self.first = 0
        self.down = False
        self.hold = False
        self.started: list[tuple[dict[int, int], int | None]] = []
        self._at: dict[int, int] = {}

    @property
    def partitions(self) -> int:
        return self.count

    def write(self, value: bytes | None, *, partition: int = 0, key: str = "r1") -> None:
        records = self.records[partition]
        offset = records[-1].offset + 1 if records else self.first
        records.append(FollowedRecord(partition, offset, int(Clock().wall() * 1000), key.encode(), value))

    def _check(self) -> None:
        if self.down:
            raise KafkaUnavailable("no broker")

    def _end(self, number: int) -> int:
        records = self.records[number]
        return records[-1].offset + 1 if records else self.first

    async def start(self, positions: Mapping[int, int], *, since_ms: int | None = None) -> Mapping[int, int]:
        self._check()
        self.started.append((dict(positions), since_ms))
        self._at = {
            number: at if self.first <= (at := positions.get(number, -1)) <= self._end(number) else self.first
            for number in range(self.count)
        }
        return dict(self._at)

    async def ends(self) -> Mapping[int, int]:
        self._check()
        return {number: self._end(number) for number in range(self.count)}

    async def position(self, number: int) -> int:
        return self._at[number]

    async def fetch(self, max_records: int, wait: float) -> Sequence[FollowedRecord]:
        await asyncio.sleep(0.005)
        self._check()
        if self.hold:
            return []
        found = [
            each for number, records in enumerate(self.records) for each in records if each.offset >= self._at[number]
        ]
        for each in found[:max_records]:
            self._at[each.partition] = each.offset + 1
        return found[:max_records]

    async def stop(self) -> None:
        pass


class Fed:
    def __init__(self, partitions: int = 1) -> None:
        self.frames, self.responses = MemoryLog(partitions), MemoryLog(partitions)
        self.hub = Hub(HubLimits(MIB, MIB), lambda _ts, _readers: None)
        self.cleaned = 0
        self.feed = Feed(
            self.hub,
            self.frames,
            self.responses,
            partition_for=lambda channel, count: len(channel) % count,
            clock=Clock(),
            random=Random(1),
            cleaned=self._clean,
        )

    def _clean(self) -> None:
        self.cleaned += 1


@contextlib.asynccontextmanager
async def running(fed: Fed) -> AsyncIterator[None]:
    task = asyncio.create_task(fed.feed.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait({task})


def buffered(fed: Fed) -> int:
    return len(fed.hub.buffer)


async def test_what_is_on_the_topics_is_read_before_it_is_ready() -> None:
    fed = Fed()
    fed.responses.write(record_value("old", status="complete", finishedAt=int(Clock().wall() * 1000)), key="old")
    fed.frames.write(start())
    fed.frames.hold = True
    async with running(fed):
        await eventually(lambda: fed.hub.transcripts.ended("old"))
        assert not fed.feed.caught_up()
        assert fed.feed.trouble() == "what was published is still being read"
        fed.frames.hold = False
        await eventually(fed.feed.caught_up)
        assert fed.feed.trouble() is None
        assert fed.hub.transcripts.open_in("chat:1") == ["r1"]


async def test_records_of_responses_are_read_from_the_time_that_frames_are_kept() -> None:
    fed = Fed()
    async with running(fed):
        await eventually(fed.feed.caught_up)
    positions, since = fed.responses.started[0]
    assert positions == {}
    assert since is not None
    assert abs(since - (Clock().wall_ms() - 900_000)) < 60_000
    assert fed.frames.started == [({}, None)]


@in_virtual_time
async def test_empty_topics_are_ready_at_once() -> None:
    fed = Fed(partitions=3)
    async with running(fed):
        await until(fed.feed.caught_up)
        assert fed.feed.partition_of("abcd") == 1
        await until(lambda: fed.cleaned)


async def test_reading_goes_on_where_it_was_after_an_outage() -> None:
    fed = Fed()
    fed.frames.write(start())
    async with running(fed):
        await eventually(fed.feed.caught_up)
        fed.frames.down = True
        await eventually(lambda: fed.feed.trouble() == "no broker")
        fed.frames.write(token(1, 0, "a"))
        fed.frames.down = False
        await eventually(lambda: buffered(fed) == 2)
        assert fed.feed.trouble() is None
        assert fed.frames.started[-1] == ({0: 1}, None)
        assert fed.hub.buffer.holds({0: 0}, {0})


async def test_records_deleted_before_they_were_read_are_no_place_to_resume() -> None:
    fed = Fed()
    fed.frames.write(start())
    async with running(fed):
        await eventually(fed.feed.caught_up)
        fed.frames.down = True
        await eventually(lambda: fed.feed.trouble() == "no broker")
        fed.frames.records, fed.frames.first = [[]], 100
        fed.frames.write(token(9, 50, "a"))
        fed.frames.down = False
        await eventually(lambda: fed.hub.buffer.ends[0] == 100)
        assert not fed.hub.buffer.holds({0: 0}, {0})
        assert fed.hub.buffer.holds({0: 99}, {0})


async def test_a_topic_that_began_again_is_read_from_its_start() -> None:
    fed = Fed()
    for number in range(5):
        fed.frames.write(token(number + 1, number, "a"))
    async with running(fed):
        await eventually(lambda: buffered(fed) == 5)
        fed.frames.down = True
        await eventually(lambda: fed.feed.trouble() == "no broker")
        fed.frames.records = [[]]
        fed.frames.write(start("other"))
        fed.frames.down = False
        await eventually(lambda: fed.hub.transcripts.transcript("other"))
        assert not fed.hub.buffer.holds({0: 4}, {0})


async def test_what_is_no_record_is_counted_and_passed_over() -> None:
    fed = Fed()
    fed.responses.write(b"{", key="x")
    fed.frames.write(b"nothing")
    fed.frames.write(start())
    async with running(fed):
        await eventually(lambda: buffered(fed) == 1)
        await eventually(lambda: fed.hub.unreadable == 2)
        assert fed.hub.buffer.ends == {0: 1}


@pytest.mark.parametrize("more", [{"parts": [1]}, {"parts": [{"part": "text"}]}, {"gaps": [1]}])
async def test_a_record_that_can_not_be_applied_is_passed_over(more: dict[str, Any]) -> None:
    fed = Fed()
    fed.responses.write(record_value("bad", "x", **more), key="bad")
    fed.responses.write(record_value("good", "x", seq=1), key="good")
    fed.frames.write(start())
    async with running(fed):
        await eventually(fed.feed.caught_up)
        assert fed.hub.unreadable == 1
        assert fed.hub.transcripts.transcript("good") is not None
        assert fed.hub.transcripts.transcript("bad") is None
