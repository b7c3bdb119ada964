"""Returns what was published recently, from the tail of the frames topic: read once for all channels of a partition,
and then only new records.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from processor.core.channel_history import ChannelHistory, PastMessage
from processor.errors import KafkaUnavailable, PublishRetry
from processor.ports.followed import FollowedRecord

BLOCK = 5_000
"""Records that are read in one request, the newest first."""
FORGET_AFTER = 30.0
"""Seconds without a question after which what was read of a partition is released."""
COUNT_AGAIN = 30.0
ENOUGH = 100_000
"""Records of a partition of which the ids are kept in memory, at most."""
ENOUGH_OF_ALL = 400_000
"""The same for all partitions together. Beyond it less is read of each: what a history lacks is published again."""
PUBLISHER = "tokenstream"


class TailReader(Protocol):
    """See `processor.kafka.log_follower.LogTail`, which raises KafkaUnavailable."""

    async def bounds(self, number: int) -> tuple[int, int]: ...
    async def read(
        self, number: int, start: int, end: int, take: Callable[[Sequence[FollowedRecord]], None]
    ) -> None: ...
    async def partitions(self) -> int: ...
    async def stop(self) -> None: ...


@dataclass
class ReadStretch:
    """What was read of a partition: the records from `low` up to `high`."""

    low: int
    high: int
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    channels: dict[str, ChannelHistory] = field(default_factory=dict)
    asked: float = float("-inf")
    """When (monotonic seconds) the last reading of what is new began."""

    def __len__(self) -> int:
        return self.high - self.low

    def add(self, records: Sequence[FollowedRecord]) -> None:
        for record in records:
            if (found := past_message(record.value)) is not None:
                channel, message = found
                self.channels.setdefault(channel, ChannelHistory()).add((message,), PUBLISHER)

    def start_again(self, at: int) -> None:
        self.low = self.high = at
        self.channels.clear()


class FramesTail:
    """The histories of channels. `partition_for(channel, count)` returns a channel's partition. See `processor.ports.realtime.HistorySource`.

    At most `enough` records of a partition, and `enough_of_all` of all, are kept, to a block.
    """

    def __init__(
        self,
        reader: TailReader,
        partition_for: Callable[[str, int], int],
        *,
        enough: int = ENOUGH,
        enough_of_all: int = ENOUGH_OF_ALL,
    ) -> None:
        self._reader = reader
        self._partition_for = partition_for
        self._enough = enough
        self._enough_of_all = enough_of_all
        self._stretches: dict[int, ReadStretch] = {}
        self._count = 0
        self._counted = float("-inf")
        self._forgetting: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Records of which something is in memory."""
        return sum(len(stretch) for stretch in self._stretches.values())

    async def read(self, channel: str, within: float) -> ChannelHistory:
        asked = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(within + 2.0):
                number = self._partition_for(channel, await self._partitions(asked))
                stretch = self._stretches.setdefault(number, ReadStretch(0, 0))
                async with stretch.turn:
                    if stretch.asked < asked:  # else another reading, begun since, has it all
                        await self._extend(number, stretch, within)
        except (KafkaUnavailable, TimeoutError) as error:
            raise PublishRetry(f"the tail of the frames topic could not be read ({type(error).__name__})") from error
        finally:
            self._forget_later()
        return stretch.channels.get(channel, ChannelHistory())

    async def close(self) -> None:
        if self._forgetting is not None:
            self._forgetting.cancel()
        await self._reader.stop()
        self._stretches.clear()

    async def _partitions(self, now: float) -> int:
        if now - self._counted > COUNT_AGAIN:
            self._count, self._counted = await self._reader.partitions(), now
        return max(1, self._count)

    async def _extend(self, number: int, stretch: ReadStretch, within: float) -> None:
        """Reads what is new, and then further back for as long as there is time and room."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        until, forgotten = began + within, began - stretch.asked > FORGET_AFTER
        first, end = await self._reader.bounds(number)
        if forgotten or not first <= stretch.high <= end or end - stretch.high > self._enough:
            stretch.start_again(end)
        stretch.asked = began
        if stretch.high < end:
            await self._reader.read(number, stretch.high, end, stretch.add)
            stretch.high = end
        while stretch.low > first and loop.time() < until and self._has_room(stretch):
            low = max(first, stretch.low - BLOCK)
            await self._reader.read(number, low, stretch.low, stretch.add)
            stretch.low = low

    def _has_room(self, stretch: ReadStretch) -> bool:
        return len(stretch) < self._enough and len(self) < self._enough_of_all

    def _forget_later(self) -> None:
        """Releases what nobody asks about any more, as a takeover is over."""
        if self._forgetting is None:
            self._forgetting = asyncio.get_running_loop().call_later(FORGET_AFTER + 1.0, self._forget)

    def _forget(self) -> None:
        self._forgetting = None
        before = asyncio.get_running_loop().time() - FORGET_AFTER
        for number, stretch in list(self._stretches.items()):
            if stretch.asked < before and not stretch.turn.locked():
                del self._stretches[number]
        if self._stretches:
            self._forget_later()


def past_message(value: bytes | None) -> tuple[str, PastMessage] | None:
    """Returns the channel and the message of a record of the frames topic; None where it is no frame."""
    try:
        fields = orjson.loads(value or b"null")
    except orjson.JSONDecodeError:
        return None
    match fields:
        case {"channel": str(channel), "name": str(name), "id": str(identity), "headers": dict(headers)}:
            given = {str(key): str(header) for key, header in headers.items()}
            return channel, PastMessage(identity, name, fields.get("data"), PUBLISHER, given)
    return None
