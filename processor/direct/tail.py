"""What the tail of the frames topic says was published: read once for all channels of a partition, and then only what is new."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from processor.ably.history import ChannelHistory, PastMessage
from processor.errors import KafkaUnavailable, PublishRetry
from processor.ports.followed import FollowedRecord

BLOCK = 5_000
"""Records that are read at one time, the newest first."""
FORGET_AFTER = 30.0
"""Seconds after which what was read is let go, if nobody asks."""


class TailReader(Protocol):
    """See `processor.kafka.log_follower.LogTail`."""

    async def bounds(self, number: int) -> tuple[int, int]: ...
    async def read(self, number: int, start: int, end: int) -> "list[FollowedRecord]": ...
    async def partitions(self) -> int: ...
    async def stop(self) -> None: ...


@dataclass
class ReadStretch:
    """What was read of a partition: the records from `low` up to `high`."""

    low: int
    high: int
    asked: float
    channels: dict[str, ChannelHistory] = field(default_factory=dict)

    def add(self, records: "list[FollowedRecord]", client_id: str) -> None:
        for record in records:
            found = _message(record, client_id)
            if found is not None:
                channel, message = found
                self.channels.setdefault(channel, ChannelHistory()).add((message,), client_id)
