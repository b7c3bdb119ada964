"""A channel with nothing to send has no task, also while its pace would make the next message wait."""

import asyncio
from random import Random

from processor.clock import Clock
from processor.core.channel_history import ChannelHistory
from processor.core.framer import Frame
from processor.core.limits import Limits
from processor.core.partition import PartitionPipeline
from processor.relay.lanes import LaneParts, Lanes
from processor.telemetry.metrics import Metrics
from support.waiting import eventually
from support.world import LogRecord
from topics.codec import Decoder, encode_token_event
from topics.records import Event


class PacedChannel:
    """Acknowledges each message, and then has no room for another one for an hour."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.waits = 0.0

    def slot(self, _: str) -> "PacedChannel":
        return self

    def release(self, _: str) -> None: ...

    async def history(self, channel: str, within: float) -> ChannelHistory:
        raise NotImplementedError

    async def __aenter__(self) -> None: ...
    async def __aexit__(self, *_: object) -> None: ...
    async def connected(self) -> None: ...

    def delay(self, *, urgent: bool) -> float:
        del urgent
        return self.waits

    async def publish(self, frame: Frame, attempt: int) -> None:
        del attempt
        self.sent.append(frame.name)
        self.waits = 3_600.0


async def test_a_channel_with_nothing_to_send_has_no_task() -> None:
    channel, pipeline = PacedChannel(), PartitionPipeline(Decoder(), Limits())
    pipeline.restore((), 0, 0.0)
    pipeline.begin(0, 0, clean=True)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        parts = LaneParts(realtime=channel, metrics=Metrics(), clock=Clock(), random=Random(1), duplicate_window=120.0)
        lanes = Lanes(parts, pipeline, lambda: True, lambda: None, tasks)
        start = encode_token_event(Event.START, "r", 0, channel="chat:1")
        pipeline.consume([LogRecord(0, start)], 1, 0.0)
        lanes.wake()
        await eventually(lambda: channel.sent == ["start"], deadline=5)
        await eventually(lambda: not lanes._running, deadline=2)
