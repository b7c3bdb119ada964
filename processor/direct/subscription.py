"""Follows a channel on the frames topic, as `processor.ably.subscription` does on a realtime service."""

from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from processor.direct.tail import BLOCK, ENOUGH, PUBLISHER, past_message
from processor.errors import KafkaUnavailable
from processor.kafka.connection import ConnectionSource
from processor.kafka.log_follower import LogFollower, LogTail, partition_for
from processor.ports.followed import FollowedRecord
from processor.reader.frames import Message

AT_ONCE = 500


class FramesSubscription:
    """Messages from when it is entered on. Raises KafkaUnavailable."""

    def __init__(self, source: ConnectionSource, topic: str, channel: str) -> None:
        self._channel = channel
        self._follower = LogFollower(source, topic)
        self._tail = LogTail(source, topic)
        self._waiting: deque[Message] = deque()

    async def __aenter__(self) -> Self:
        try:
            await self._follower.start({})
            await self._follower.start(await self._follower.ends())
        except BaseException:
            await self._follower.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._follower.stop()
        await self._tail.stop()

    async def next(self, within: float) -> Message | None:
        """Returns None when no message arrives within `within` seconds."""
        if not self._waiting:
            records = await self._follower.fetch(AT_ONCE, within)
            if not records and (trouble := self._follower.troubles.get(self._number)):
                raise KafkaUnavailable(trouble)
            for record in records:
                self._waiting.extend(self._mine(record))
        return self._waiting.popleft() if self._waiting else None

    async def history(self) -> list[Message]:
        """The channel's messages among the newest records of its partition, oldest first."""
        number = self._number
        first, end = await self._tail.bounds(number)
        found: list[Message] = []

        def take(records: Sequence[FollowedRecord]) -> None:
            for record in records:
                found.extend(self._mine(record))

        for start in range(max(first, end - ENOUGH), end, BLOCK):
            await self._tail.read(number, start, min(end, start + BLOCK), take)
        return found

    @property
    def _number(self) -> int:
        """The channel's partition."""
        return partition_for(self._channel, max(1, self._follower.partitions))

    def _mine(self, record: FollowedRecord) -> list[Message]:
        read = past_message(record.value)
        if read is None or read[0] != self._channel:
            return []
        past = read[1]
        return [Message(name=past.name, data=past.data, headers=past.headers, client_id=PUBLISHER, id=past.id)]
