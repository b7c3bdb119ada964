"""What the metrics cost: CPU time a token, with them and without, in one process and in turns.

    python tests/integration/observability/instrumentation_cost.py

The path measured is decoding, the core and the lanes, with a realtime service that acknowledges at once: without a socket or
the SDK, beside which the metrics would look cheaper than they are.
"""

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import SimpleNamespace
from typing import Any

from processor.clock import Clock
from processor.core.channel_history import ChannelHistory
from processor.core.framer import Frame
from processor.core.limits import Limits
from processor.core.partition import PartitionPipeline
from processor.core.response import Raw
from processor.relay.lanes import LaneParts, Lanes
from processor.relay.measures import Measures
from processor.telemetry.metrics import Metrics
from topics.codec import Decoder

ROUNDS = 200
"""Short ones: on a busy machine some of them run undisturbed, and the fastest counts."""
MEASURED_EVERY = 0.25


class Nothing:
    """A metric that does nothing, whatever it is."""

    def labels(self, *_values: str) -> "Nothing":
        return self

    def inc(self, _amount: float = 1) -> None: ...
    def set(self, _value: float) -> None: ...
    def observe(self, _value: float) -> None: ...
    def count(self, _value: str) -> None: ...


class Silent:
    """Metrics that count nothing."""

    def __init__(self) -> None:
        for name in vars(Metrics()):
            setattr(self, name, Nothing())

    def fold(self) -> None: ...
    def count_publish_failure(self, _code: int) -> None: ...
    def forget_partition(self, _topic: str, _number: int) -> None: ...


class InstantSlot:
    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None: ...

    def delay(self, *, urgent: bool) -> float:
        return 0.0

    async def connected(self) -> None: ...
    async def publish(self, frame: Frame, attempt: int) -> None: ...


class InstantRealtime:
    def slot(self, channel: str) -> InstantSlot:
        return InstantSlot()

    def release(self, channel: str) -> None: ...

    async def history(self, channel: str, within: float) -> ChannelHistory:
        raise NotImplementedError


@dataclass(frozen=True)
class Record:
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[()] = ()


@dataclass(frozen=True)
class Load:
    """`burst` tokens of each response are read at a time: 1 makes a frame of every token, more are rolled up."""

    name: str
    responses: int
    tokens: int
    burst: int

    def batches(self, now_ms: int) -> list[list[Raw]]:
        """What is fetched, fetch by fetch: some tokens of every response each time."""
        offset, batches = 0, []
        for first in range(0, self.tokens + 1, self.burst):
            batch: list[Raw] = []
            for number in range(self.responses):
                for seq in range(first, min(first + self.burst, self.tokens + 1)):
                    batch.append(Record(offset, now_ms, b"k", record(number, seq, now_ms)))
                    offset += 1
            batches.append(batch)
        return batches


def record(number: int, seq: int, now_ms: int) -> bytes:
    head: Mapping[str, Any] = {"v": 1, "responseId": f"response-{number}", "seq": seq, "ts": now_ms}
    if seq == 0:
        return json.dumps({**head, "event": "start", "channel": f"chat:{number}"}).encode()
    return json.dumps({**head, "event": "token", "text": f"token {seq} "}).encode()


LOADS = (
    Load("a frame for every token", responses=20, tokens=20, burst=1),
    Load("20 tokens rolled up into a frame", responses=20, tokens=100, burst=20),
)


async def relay(batches: Sequence[Sequence[Raw]], metrics: Any) -> float:
    """CPU seconds to take all of it to its acknowledgement."""
    clock = Clock()
    pipeline = PartitionPipeline(Decoder(None), Limits())
    pipeline.begin(0, 0, clean=True)
    worker: Any = SimpleNamespace(pipeline=pipeline, running=True, committed_offset=0)
    consumer: Any = SimpleNamespace(topic="tokens", high_water=lambda _number: 1_000_000)
    measures = Measures(metrics, consumer)
    parts = LaneParts(realtime=InstantRealtime(), metrics=metrics, clock=clock, random=Random(1), duplicate_window=0.0)
    shown = began = time.process_time()
    async with asyncio.TaskGroup() as tasks:
        lanes = Lanes(parts, pipeline, lambda: True, lambda: None, tasks)
        for batch in batches:
            pipeline.consume(batch, batch[-1].offset + 1, clock.monotonic())
            lanes.wake()
            while lanes._running:
                await asyncio.sleep(0)
            if time.process_time() - shown >= MEASURED_EVERY:
                shown = time.process_time()
                measures.show({0: worker}, 0, clock.monotonic())
        measures.show({0: worker}, 0, clock.monotonic())
        metrics.fold()
    return time.process_time() - began


def cost(load: Load) -> tuple[float, float]:
    """Microseconds a token without metrics, and the share that they add: the least disturbed of many rounds, in turns."""
    batches = load.batches(time.time_ns() // 1_000_000)
    tokens = load.responses * load.tokens
    kinds = (Silent(), Metrics())
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(2 * ROUNDS + 2):
        kind = (turn + turn // 2) % 2  # without, with, with, without: neither is always first
        seconds = asyncio.run(relay(batches, kinds[kind]))
        if turn >= 2:
            times[kind].append(seconds)
    without, with_them = (min(each) for each in times)
    return without / tokens * 1e6, with_them / without - 1


def main() -> None:
    for load in LOADS:
        microseconds, share = cost(load)
        print(f"{load.name}: {microseconds:.1f} us a token without metrics, {share:+.1%} with them")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
