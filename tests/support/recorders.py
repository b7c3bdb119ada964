"""Fakes of what writes tombstones and controls: they keep what is written, and fail as asked."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from processor.errors import KafkaUnavailable, TombstoneUndetermined
from topics.controls import ControlRecord


@dataclass
class RecordingTombstones:
    written: list[tuple[str, int]] = field(default_factory=list)
    down: bool = False
    undetermined: bool = False
    held: asyncio.Event | None = None
    """Where it is given, a tombstone is not acknowledged until it is set."""

    before: Callable[[], Awaitable[None]] | None = None
    """Where it is given, it runs while Kafka is connected to."""

    async def connect(self) -> None:
        if self.down:
            raise KafkaUnavailable("no broker")
        if self.before is not None:
            await self.before()

    async def write(self, response_id: str, partition: int) -> None:
        if self.down:
            raise KafkaUnavailable("no broker")
        self.written.append((response_id, partition))
        if self.undetermined:
            raise TombstoneUndetermined("the tombstone was not acknowledged; it may be written")
        if self.held is not None:
            await self.held.wait()


@dataclass
class RecordingControls:
    written: list[ControlRecord] = field(default_factory=list)
    down: bool = False
    refusals: int = 0
    """How many of the next writes fail."""
    attempts: int = 0
    closed: bool = False

    async def connect(self) -> None:
        if self.down:
            raise KafkaUnavailable("no broker")

    async def close(self) -> None:
        self.closed = True

    async def write(self, record: ControlRecord) -> None:
        self.attempts += 1
        if self.down or self.refusals:
            self.refusals = max(0, self.refusals - 1)
            raise KafkaUnavailable("the record was not acknowledged")
        self.written.append(record)
