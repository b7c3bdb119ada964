"""An unknown refusal is retried for five minutes, and then counts as permanent."""

import asyncio
from collections.abc import Mapping
from random import Random

import pytest

from processor.ably.refusals import refusal
from processor.clock import Clock
from processor.core.backoff import Backoff
from processor.core.framer import Frame
from processor.core.limits import Limits
from processor.core.partition import PartitionPipeline
from processor.core.response import Published
from processor.errors import PublishRetry
from processor.relay.lanes import LaneParts, Lanes
from processor.telemetry.metrics import Metrics
from support.world import LogRecord
from topics.codec import Decoder, encode_token_event
from topics.records import Event, Reason

STEP = 10.0


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class RefusingChannel:
    """Returns `answers`, one per message, and the last one repeatedly; every answer takes ten seconds."""

    published: Mapping[str, Published] = {}
    ids: frozenset[str] = frozenset()

    def __init__(self, time: Time, answers: list[tuple[int, int] | None]) -> None:
        self._time = time
        self._answers = answers
        self.sent: list[str] = []

    def slot(self, _: str) -> "RefusingChannel":
        return self

    def release(self, _: str) -> None: ...

    async def history(self, _: str, within: float) -> "RefusingChannel":
        del within
        return self

    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None: ...
    async def connected(self) -> None: ...

    def delay(self, *, urgent: bool) -> float:
        del urgent
        return 0.0

    async def publish(self, frame: Frame, attempt: int) -> None:
        del attempt
        self.sent.append(frame.name)
        self._time.now += STEP
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if answer == (0, 0):
            raise PublishRetry("no answer in time")
        if answer is not None:
            raise refusal(*answer, "no reason that is known")


async def relayed(answers: list[tuple[int, int] | None]) -> tuple[PartitionPipeline, RefusingChannel, Time]:
    """One response, until it has ended."""
    time = Time()
    channel = RefusingChannel(time, answers)
    pipeline = PartitionPipeline(Decoder(), Limits())
    pipeline.restore((), 0, 0.0)
    pipeline.begin(0, 0, clean=True)
    values = [
        encode_token_event(Event.START, "r1", 0, channel="chat:1"),
        encode_token_event(Event.TOKEN, "r1", 1, text="Hello"),
        encode_token_event(Event.STOP, "r1", 2),
    ]
    ended = asyncio.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        parts = LaneParts(
            realtime=channel,
            metrics=Metrics(),
            clock=Clock(time.monotonic),
            random=Random(1),
            duplicate_window=120.0,
            backoff=Backoff(first=0.0, cap=0.0),
        )
        lanes = Lanes(
            parts, pipeline, lambda: True, lambda: ended.set() if not pipeline.status().open_responses else None, tasks
        )
        pipeline.consume([LogRecord(offset, value) for offset, value in enumerate(values)], 3, 0.0)
        lanes.wake()
        await ended.wait()
    return pipeline, channel, time


async def test_the_same_refusal_for_five_minutes_ends_the_response_and_frees_its_partition() -> None:
    pipeline, channel, time = await relayed([(41234, 400)])
    batch = pipeline.collect(1)
    assert [letter.reason for letter in batch.dead_letters] == [Reason.UNPUBLISHABLE] * 3
    assert [save.record.reason for save in batch.saves] == ["unpublishable"]
    assert pipeline.commit_point(batch, [0]).offset == 3
    assert set(channel.sent) == {"start"}
    assert time.now >= 300


async def test_a_refusal_that_passes_in_time_loses_nothing() -> None:
    answers: list[tuple[int, int] | None] = [(41234, 400)] * 29
    pipeline, channel, _ = await relayed([*answers, None])
    assert not pipeline.collect(1).dead_letters
    assert channel.sent[-2:] == ["token", "stop"]


@pytest.mark.parametrize("other", [(50003, 503), (42910, 429), (80003, 400), (90001, 400), (40142, 401)])
async def test_what_is_not_about_the_message_is_tried_for_as_long_as_it_takes(other: tuple[int, int]) -> None:
    answers: list[tuple[int, int] | None] = [other] * 100
    pipeline, _, time = await relayed([*answers, None])
    assert time.now > 900
    assert not pipeline.collect(1).dead_letters


async def test_silence_between_the_refusals_does_not_prolong_them_and_another_refusal_does() -> None:
    between: list[tuple[int, int] | None] = [(41234, 400), (0, 0)] * 40
    _, _, soon = await relayed(list(between))
    assert 300 <= soon.now <= 330
    others: list[tuple[int, int] | None] = [*[(41234, 400)] * 20, (50000, 500), *[(41234, 400)] * 20, None]
    pipeline, _, _ = await relayed(others)
    assert not pipeline.collect(1).dead_letters
