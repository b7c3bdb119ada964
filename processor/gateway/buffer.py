"""The newest frames of all channels, in the order of the log, bounded by their bytes and their age."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from itertools import islice

from processor.gateway.events import LoggedFrame


class ChannelFrames:
    """The buffered frames of one channel."""

    __slots__ = ("frames", "ids")

    def __init__(self) -> None:
        self.frames: deque[LoggedFrame] = deque()
        self.ids: set[str] = set()


class FrameBuffer:
    """Holds, of each partition, every frame after its `floor`. What is trimmed is the oldest, of whatever channel.

    A frame whose id its channel has in the buffer is a repeat, and is not held a second time: whoever reads on from a position
    inside the buffer gets the first one, or has had it.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._frames: deque[LoggedFrame] = deque()
        self._channels: dict[str, ChannelFrames] = {}
        self._floors: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self.bytes = 0
        self.serial = 0
        """Of the newest frame; 0 before the first."""
        self.trimmed = 0
        """Of the newest frame that was trimmed."""

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def ends(self) -> Mapping[int, int]:
        """By partition, the offset of the newest record read; one less than the first offset where none was."""
        return self._ends

    def begin(self, partition: int, offset: int) -> None:
        """Reading of the partition begins at `offset`, or goes on there after records that were never seen."""
        self._ends[partition] = self._floors[partition] = offset - 1

    def clear(self) -> None:
        """Drops all frames: no position before the end can be resumed."""
        while self._frames:
            self._trim_oldest()
        self._floors |= self._ends

    def read(self, partition: int, offset: int) -> None:
        """The record at `offset` was read, whether it holds a frame or not."""
        self._ends[partition] = offset

    def add(self, frame: LoggedFrame) -> bool:
        """Returns whether the frame is new. The frames of a partition must be added in the order of their offsets."""
        self.read(frame.partition, frame.offset)
        channel = self._channels.get(frame.channel)
        if channel is None:
            channel = self._channels[frame.channel] = ChannelFrames()
        if frame.id in channel.ids:
            return False
        self.serial += 1
        frame.serial = self.serial
        channel.frames.append(frame)
        channel.ids.add(frame.id)
        self._frames.append(frame)
        self.bytes += frame.cost
        while self.bytes > self._max_bytes:
            self._trim_oldest()
        return True

    def trim(self, before_ms: int) -> None:
        """Drops frames that were written before `before_ms`."""
        while self._frames and self._frames[0].written < before_ms:
            self._trim_oldest()

    def _trim_oldest(self) -> None:
        frame = self._frames.popleft()
        self.bytes -= frame.cost
        self._floors[frame.partition] = frame.offset
        self.trimmed = frame.serial
        channel = self._channels[frame.channel]
        channel.frames.popleft()
        channel.ids.discard(frame.id)
        if not channel.frames:
            del self._channels[frame.channel]

    def holds(self, offsets: Mapping[int, int], partitions: Iterable[int]) -> bool:
        """Whether every frame of these partitions after these offsets is in the buffer, and the offsets were reached."""
        for partition in partitions:
            offset, floor = offsets.get(partition), self._floors.get(partition)
            if offset is None or floor is None or not floor <= offset <= self._ends[partition]:
                return False
        return True

    def serial_at(self, channels: Iterable[str], offsets: Mapping[int, int]) -> int:
        """Returns the number after which a reader at these offsets reads on. To be asked only where `holds`."""
        for frame in self.following(channels, 0, len(self._frames)):
            if frame.offset > offsets.get(frame.partition, -1):
                return frame.serial - 1
        return self.serial

    def following(self, channels: Iterable[str], serial: int, limit: int) -> list[LoggedFrame]:
        """The first `limit` frames of these channels that were read after the frame with this number."""
        found = [self._newer(self._channels[name].frames, serial) for name in channels if name in self._channels]
        return list(islice(merge(*found, key=_serial), limit))

    def of_response(self, channel: str, response_id: str) -> Iterator[LoggedFrame]:
        held = self._channels.get(channel)
        return iter(()) if held is None else (frame for frame in held.frames if frame.response_id == response_id)

    def _newer(self, frames: deque[LoggedFrame], serial: int) -> list[LoggedFrame]:
        newer: list[LoggedFrame] = []
        for frame in reversed(frames):
            if frame.serial <= serial:
                break
            newer.append(frame)
        newer.reverse()
        return newer


def _serial(frame: LoggedFrame) -> int:
    return frame.serial
