"""A partition's worker sleeps on while nothing waits for it, and wakes at once where something does."""

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from processor.clock import Clock
from processor.core.limits import Limits
from processor.core.partition import PartitionPipeline
from processor.relay.alarm import Alarm
from processor.relay.controls import RelayControls
from processor.relay.parts import WorkerParts
from processor.relay.worker import IDLE_WAIT, PartitionWorker, WorkerState
from processor.telemetry.metrics import Metrics
from support.measures import NoMeasures
from support.virtual_time import in_virtual_time
from topics.codec import Decoder

SOON = IDLE_WAIT / 4


@dataclass(frozen=True, slots=True)
class Raw:
    offset: int
    value: bytes
    timestamp: int = 0
    key: bytes = b"chat:1"
    headers: tuple[tuple[str, bytes], ...] = ()


class NoLanes:
    def wake(self) -> None: ...
    def close(self) -> None: ...
    def stop(self) -> None: ...


def running_worker() -> PartitionWorker:
    nothing: Any = None
    parts = WorkerParts(
        consumer=nothing,
        committed=nothing,
        responses=nothing,
        writer_of=nothing,
        lanes_of=lambda *_: NoLanes(),
        decoder=Decoder(None),
        metrics=Metrics(),
        clock=Clock(),
        random=Random(1),
        measures=NoMeasures(),
        responses_topic="responses",
        dead_letters_topic="dead-letters",
        dead_letter_bytes=1 << 20,
        controls=RelayControls(Clock(), Random(1)),
    )
    made = PartitionWorker(0, parts, nothing, Limits(gap_timeout=30.0, idle_timeout=60.0))
    made.state = WorkerState.RUNNING
    return made


def event(seq: int, **fields: Any) -> Raw:
    return Raw(seq, orjson.dumps({"responseId": "r", "seq": seq, **fields}))


async def slept(worker: PartitionWorker, *raws: Raw) -> bool:
    """Whether it sleeps on after these came."""
    worker.consume([event(0, event="start", channel="chat:1")], 1)
    worker._alarm = Alarm()
    waiting = asyncio.create_task(worker._wait(worker.pipeline.next_wake()))
    await asyncio.sleep(0)
    worker.consume(raws, raws[-1].offset + 1)
    done, _ = await asyncio.wait([waiting], timeout=SOON)
    waiting.cancel()
    return not done


@in_virtual_time
async def test_tokens_and_answers_alone_do_not_wake_it() -> None:
    assert await slept(running_worker(), event(1, event="token", text="Hello"))


@in_virtual_time
async def test_what_is_to_be_written_wakes_it() -> None:
    assert not await slept(running_worker(), Raw(1, b"no JSON"))


@in_virtual_time
async def test_a_timer_due_before_it_would_wake_by_itself_does() -> None:
    worker = running_worker()
    worker.pipeline = PartitionPipeline(Decoder(None), Limits(gap_timeout=0.01, idle_timeout=60.0))
    assert not await slept(worker, event(5, event="token", text="early"))
