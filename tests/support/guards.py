"""Loads for the guards of speed, and the count of what they cost: bytecode instructions, the same in every run."""

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from processor.core.framer import Frame
from processor.core.limits import Limits
from processor.core.partition import PartitionPipeline
from processor.core.response import Raw
from support.world import LogRecord
from topics.codec import Decoder, encode_response, encode_token_event
from topics.records import Event

ROOT = Path(__file__).parents[2]
COUNTED = (str(ROOT / "processor" / "core"), str(ROOT / "topics"))
WORDS = ("Hello ", "the ", " quick", " brown", "né ", "日本", "code()\n", '"quoted" ', "a", ". ")


def token_values(responses: int, tokens: int, opened: int, seed: int = 1) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) of token records, `opened` responses at a time taking turns."""
    random = Random(seed)
    waiting = iter(range(responses))
    live = [(number, 0) for number in itertools.islice(waiting, opened)]
    while live:
        number, seq = live.pop(0)
        yield f"chat:{number}".encode(), _value(number, seq, tokens, random)
        if seq <= tokens:
            live.append((number, seq + 1))
        elif (following := next(waiting, None)) is not None:
            live.append((following, 0))


def _value(number: int, seq: int, tokens: int, random: Random) -> bytes:
    response_id, ts = f"response-{number:06d}", 1_763_860_000_000 + seq * 30
    if seq == 0:
        return encode_token_event(Event.START, response_id, 0, ts=ts, channel=f"chat:{number}", metadata={"m": "l"})
    if seq <= tokens:
        return encode_token_event(Event.TOKEN, response_id, seq, ts=ts, text=random.choice(WORDS))
    return encode_token_event(Event.STOP, response_id, seq, ts=ts, usage={"outputTokens": tokens})


class Partition:
    """A pipeline whose frames are acknowledged and whose records are written at once."""

    def __init__(self) -> None:
        self.pipeline = PartitionPipeline(Decoder(), Limits())
        self.pipeline.restore((), 0, 0.0)
        self.pipeline.begin(0, 0, clean=True)
        self.frames = 0
        self.committed = 0
        self._written = 0
        self._now = 0.0

    def take_in(self, records: Sequence[Raw]) -> None:
        self._now += 0.01
        self.pipeline.consume(records, records[-1].offset + 1, self._now)
        while woken := self.pipeline.take_woken():
            for channel in woken:
                self._send(channel)
        if self.pipeline.wants_write:
            self.write()

    def _send(self, channel: str) -> None:
        while isinstance(frame := self.pipeline.next_frame(channel, self._now), Frame):
            self.frames += 1
            self.pipeline.done(frame, self._now)

    def write(self) -> None:
        batch = self.pipeline.collect(1)
        for save in batch.saves:
            encode_response(save.record)
        offsets = list(range(self._written, self._written + len(batch.saves)))
        self._written += len(offsets)
        point = self.pipeline.commit_point(batch, offsets)
        self.pipeline.committed(batch, point, self._now)
        self.committed = point.offset


def log_of(responses: int, tokens: int, opened: int) -> list[Raw]:
    return [
        LogRecord(offset, value, key) for offset, (key, value) in enumerate(token_values(responses, tokens, opened))
    ]


def relay_all(records: list[Raw], batch: int) -> Partition:
    partition = Partition()
    for first in range(0, len(records), batch):
        partition.take_in(records[first : first + batch])
    partition.write()
    return partition


def instructions(work: Callable[[], object]) -> int:
    """How many bytecode instructions of the core and the codec `work` executes. What C code does is not counted."""
    count = 0

    def trace_inside(_: FrameType, event: str, __: Any) -> Any:
        nonlocal count
        count += event == "opcode"
        return trace_inside

    def trace(frame: FrameType, _: str, __: Any) -> Any:
        if not frame.f_code.co_filename.startswith(COUNTED):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return trace_inside

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count
