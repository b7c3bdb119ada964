"""The state of a gateway: its input is frames and records of the log, its output events to readers. Synchronous."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from processor.gateway.buffer import FrameBuffer
from processor.gateway.clients import StreamClient, shared_event
from processor.gateway.events import FrameRead, LoggedFrame, read_frame
from processor.gateway.transcripts import Transcripts
from processor.ports.followed import FollowedRecord

IDLE_OPEN_MS = 3_600_000
"""An open response of which nothing came for so long is forgotten; the store has it."""


@dataclass(frozen=True, slots=True)
class HubLimits:
    buffer_bytes: int
    transcript_bytes: int
    retention_ms: int = 900_000
    """How long the frames topic keeps records."""


class Hub:
    """`delivered` is called with the time of a frame (ms; 0 for none) and how many readers got it."""

    def __init__(self, limits: HubLimits, delivered: Callable[[int, int], None]) -> None:
        self._limits = limits
        self._delivered = delivered
        self._clients: dict[str, set[StreamClient]] = {}
        self.buffer = FrameBuffer(limits.buffer_bytes)
        self.transcripts = Transcripts(limits.transcript_bytes)
        self.unreadable = 0
        """Records of both topics that are neither frames nor response records."""

    @property
    def retention_ms(self) -> int:
        return self._limits.retention_ms

    def take_frames(self, records: Iterable[FollowedRecord], now_ms: int) -> None:
        for record in records:
            end = self.buffer.ends.get(record.partition)
            if end is not None and record.offset <= end:
                continue
            if end is None or record.offset > end + 1:
                self.skip_to(record.partition, record.offset)
            read = read_frame(record.partition, record.offset, record.written, record.value)
            if read is None:
                self.unreadable += 1
                self.buffer.read(record.partition, record.offset)
            elif self.buffer.add(read.logged):
                self.transcripts.apply(read, now_ms)
                self._publish(read)

    def take_responses(self, records: Iterable[FollowedRecord], now_ms: int) -> None:
        for record in records:
            try:
                self.transcripts.take_record(record.key.decode(), record.value, now_ms)
            except ValueError:  # msgspec's and Unicode's errors are ones
                self.unreadable += 1
                continue
            if record.value is not None:
                self._notify_if_ended(record.key.decode())

    def skip_to(self, partition: int, offset: int) -> None:
        """Reading of the partition begins here, or goes on here without what was before: its readers need snapshots."""
        if offset <= self.buffer.ends.get(partition, -1):
            self.buffer.clear()  # another log, whose offsets begin again
        self.buffer.begin(partition, offset)
        for client in self.clients():
            if partition in client.partitions:
                client.lose_place()

    def clean(self, now_ms: int) -> None:
        """To be called every second or so."""
        before = now_ms - self._limits.retention_ms
        self.buffer.trim(before)
        self.transcripts.expire(before, now_ms - IDLE_OPEN_MS)

    def add(self, client: StreamClient) -> None:
        for channel in client.channels:
            self._clients.setdefault(channel, set()).add(client)

    def remove(self, client: StreamClient) -> None:
        for channel in client.channels:
            clients = self._clients.get(channel, set())
            clients.discard(client)
            if not clients:
                self._clients.pop(channel, None)

    def clients(self) -> set[StreamClient]:
        return {client for clients in self._clients.values() for client in clients}

    def begin_with_snapshots(self, client: StreamClient) -> list[str]:
        """Fixes the client's place in the log. Returns the ids of its channels' open responses, the first begun first."""
        client.move_to(self.buffer.ends, self.buffer.serial)
        client.covered.clear()
        return [response_id for channel in sorted(client.channels) for response_id in self.transcripts.open_in(channel)]

    def ended_lately(self, client: StreamClient) -> list[str]:
        """The ids of responses whose final record came within the retention of the frames topic."""
        return [response_id for channel in client.channels for response_id, _ in self.transcripts.ended_in(channel)]

    def backlog(self, client: StreamClient, limit: int) -> list[LoggedFrame] | None:
        """The next frames that a client has to be given before it is live; None where some of them left the buffer."""
        if self.buffer.trimmed > client.serial and not self.buffer.holds(client.offsets, client.partitions):
            return None
        return self.buffer.following(client.channels, client.serial, limit)

    def _publish(self, read: FrameRead) -> None:
        clients = self._clients.get(read.logged.channel)
        if not clients:
            return
        shared = shared_event(read.logged)
        reached = 0
        for client in clients:
            reached += client.push(read, shared)
        if reached:
            self._delivered(read.logged.ts if read.frame.has_text else 0, reached)

    def _notify_if_ended(self, response_id: str) -> None:
        """A reader of one response need not wait for a stop that the log may not have."""
        ended = self.transcripts.ended(response_id)
        if ended is None:
            return
        for client in self._clients.get(ended.channel, ()):
            if client.only == response_id:
                client.lose_place()
