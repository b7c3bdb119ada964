"""One reader's stream: its position in the log, and which records it gets. Synchronous; a `Wire` carries the bytes.

    LOADING --snapshots or backlog written--> LIVE --queue full, or records of the log were skipped--> LAGGING
       ^                                        |                                                         |
       '----------------------------------------+------------------- reset --------------------------------'

While LIVE every frame is written when it is read. In the other states nothing is written, and the buffer holds the
following frames.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import Enum, auto
from typing import Protocol

from processor.gateway.events import FrameRead, LoggedFrame, event
from processor.gateway.formats import FormattedStream
from processor.gateway.positions import StreamPosition

MAX_QUEUE_BYTES = 256 * 1024
"""Unsent bytes of one reader."""


class Wire(Protocol):
    """The connection to one reader. Methods return at once."""

    def queued(self) -> int:
        """Bytes written and not yet taken by the system."""
        ...

    def write(self, block: bytes) -> None: ...


class StreamState(Enum):
    LOADING = auto()
    LIVE = auto()
    LAGGING = auto()


class StreamClient:
    """`only` restricts the stream to one response, which `stream` then formats. `wake` is called when its owner has to act."""

    __slots__ = ("_offsets", "channels", "covered", "only", "partitions", "serial", "state", "stream", "wake", "wire")

    def __init__(
        self,
        channels: AbstractSet[str],
        partitions: AbstractSet[int],
        wire: Wire,
        *,
        only: str | None = None,
        stream: FormattedStream | None = None,
    ) -> None:
        self.channels = channels
        self.partitions = partitions
        self.only = only
        self.stream = stream
        self.wire = wire
        self.state = StreamState.LOADING
        self.serial = 0
        """Of the newest frame that was delivered, or is covered by snapshots."""
        self.covered: dict[str, int] = {}
        """By response, the number of the newest frame that the snapshot it was given covers."""
        self.wake = _nothing
        self._offsets: dict[int, int] = {}

    @property
    def offsets(self) -> Mapping[int, int]:
        return self._offsets

    def move_to(self, offsets: Mapping[int, int], serial: int) -> None:
        """The stream goes on after these offsets."""
        self._offsets = {partition: offsets.get(partition, -1) for partition in self.partitions}
        self.serial = serial

    def position(self, *, whole: bool = True) -> str:
        return StreamPosition(self._offsets, whole=whole).encode()

    def push(self, read: FrameRead, shared: bytes) -> bool:
        """Writes a frame that was just read. Returns whether bytes were written. `shared` is the event of a reader of one partition."""
        if self.state is not StreamState.LIVE:
            return False
        try:
            block = self.take(read.logged, read, shared)
        except Exception:  # noqa: BLE001 - also FrameMissing; one reader's frame ends neither the feed nor other readers
            self._stop_following()
            return False
        if self.wire.queued() + len(block) > MAX_QUEUE_BYTES:
            self._stop_following()
            return False
        if block:
            self.wire.write(block)
        if self.stream is not None and self.stream.ended:
            self.wake()
        return bool(block)

    def take(self, logged: LoggedFrame, read: FrameRead | None = None, shared: bytes | None = None) -> bytes:
        """Moves past a frame and returns what of it the reader gets. Raises FrameMissing."""
        self.serial = logged.serial
        if logged.offset <= self._offsets.get(logged.partition, -1):
            return b""
        self._offsets[logged.partition] = logged.offset
        if self.only is not None and logged.response_id != self.only:
            return b""
        if self.covered.get(logged.response_id, 0) >= logged.serial:
            return b""
        if self.stream is not None:
            if self.stream.ended:
                return b""
            known = read if read is not None else logged.read_again()
            return self.stream.of_frame(logged, known.frame, self.position())
        if shared is not None and len(self._offsets) == 1:
            return shared
        return event(logged.name, self.position(), logged.data)

    def go_live(self) -> None:
        self.covered.clear()
        self.state = StreamState.LIVE

    def lose_place(self) -> None:
        """Frames that the reader did not get are not in the buffer any more."""
        if self.state is StreamState.LIVE:
            self._stop_following()

    def _stop_following(self) -> None:
        self.state = StreamState.LAGGING
        self.wake()


def _nothing() -> None:
    """Until the client's owner waits for it."""


def shared_event(logged: LoggedFrame) -> bytes:
    """The event of a frame for readers all of whose channels are in the frame's partition."""
    return event(logged.name, StreamPosition({logged.partition: logged.offset}).encode(), logged.data)
