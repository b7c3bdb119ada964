"""A partition in memory around the real pipeline: a log, a channel that answers late, transactions, crashes.

Pure and seeded: the same choices give the same run. Used by the property tests.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from processor.core.chunks import ANY_FORMAT, ChunkFormat
from processor.core.framer import Frame
from processor.core.limits import Limits
from processor.core.outflow import AskHistory
from processor.core.partition import PartitionPipeline
from processor.core.response import Cancel, Published
from processor.core.text import utf16_length
from processor.core.write_queue import Unwanted
from processor.relay.commit_metadata import CommitMetadata
from processor.relay.takeover import beginning
from topics.codec import Decoder, decode_response, encode_response
from topics.controls import ControlEvent, ControlRecord, ControlsMemory
from topics.records import Reason, ResponseRecord


@dataclass(frozen=True, slots=True)
class LogRecord:
    offset: int
    value: bytes | None
    key: bytes | None = b"k"
    timestamp: int | None = 1_700_000_000_000
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass
class World:
    """One partition. `step` does one thing at random; `finish` lets everything come to its end, without faults."""

    values: Sequence[bytes | LogRecord | None]
    random: Random
    limits: Limits = field(default_factory=lambda: Limits(gap_timeout=2, idle_timeout=60, snapshot_interval=1))
    ask_history: bool = True
    stale_history: bool = False
    """Whether an answer may lack the newest frames of its channel."""
    now: float = 0.0
    published: list[Frame] = field(default_factory=list)
    """Frames in the order in which the channel accepted them, without those it dropped for their id."""
    responses: list[tuple[str, bytes | None]] = field(default_factory=list)
    dead: list[tuple[Reason, int]] = field(default_factory=list)
    committed: int = 0
    restore: int = 0
    clean: bool = False
    crashes: int = 0
    faulty: bool = True
    kind: type[PartitionPipeline] = PartitionPipeline
    """A pipeline of the product, or of its source with a bug in it."""
    refusing: frozenset[str] = frozenset()
    """Channels that refuse every frame permanently."""
    chunk_format: ChunkFormat = ANY_FORMAT
    shares: tuple[int, ...] = (1,)
    """Among how many partitions an owner may have to split `limits`."""

    unwanted: list[Unwanted] = field(default_factory=list)
    cancels: ControlsMemory = field(default_factory=lambda: ControlsMemory(600))

    def __post_init__(self) -> None:
        self.log = [
            replace(value, offset=offset) if isinstance(value, LogRecord) else LogRecord(offset, value)
            for offset, value in enumerate(self.values)
        ]
        self.ids: set[str] = set()
        self.ended: set[str] = set()
        """Responses whose final record is committed."""
        self.inflight: list[Frame] = []
        self.active: set[str] = set()
        self.start()

    def start(self) -> None:
        share = self.shares[0] if len(self.shares) == 1 else self.random.choice(self.shares)
        self.pipeline = self.kind(Decoder(), self.limits.share(share), self.chunk_format, self.cancels)
        committed = (self.committed, CommitMetadata(self.restore, self.clean).encode()) if self.crashes else None
        begin = beginning(committed, 0, len(self.log))
        entries = []
        for offset, (response_id, value) in enumerate(self.responses):
            if offset >= begin.restore:
                entries.append((offset, response_id, None if value is None else decode_response(value)))
        self.pipeline.restore(entries, len(self.responses), self.now)
        clean = begin.clean_after(len(self.responses))
        self.pipeline.begin(begin.offset, len(self.log) if self.crashes else 0, clean=clean, lost=begin.lost)
        self.position, self.committed, self.restore = begin.offset, begin.offset, begin.restore
        self.inflight.clear()
        self.active.clear()

    def cancel(self, response_id: str, channel: str, ts: int = 1_700_000_000_000, age: float = 0.0) -> None:
        """`age` (seconds) is above 0 if an owner that has just started reads it."""
        control, at = ControlRecord(ControlEvent.CANCEL, response_id, channel, ts), self.now - age
        repeated = bool(self.cancels.find(response_id, channel, self.now))
        if self.cancels.note(control, at, self.now):
            self.pipeline.cancel(control, Cancel(at, at, self.now, repeated))

    def crash(self) -> None:
        """What is in flight may have reached the channel or not."""
        for frame in self.inflight:
            if frame.channel not in self.refusing and self.random.random() < 0.5:
                self.land(frame)
        self.crashes += 1
        self.clean = False
        self.start()

    def delete(self) -> None:
        """A tombstone for a response that has ended."""
        if self.ended:
            self.responses.append((self.random.choice(sorted(self.ended)), None))

    def lose_end(self, records: int) -> None:
        """The broker comes back without its last records, and so the relay, too."""
        del self.log[len(self.log) - records :]
        self.crash()

    def step(self) -> None:
        self.now += self.random.choice((0.0, 0.01, 0.3))
        choice = self.random.random()
        if choice < 0.4:
            self.consume()
        elif choice < 0.8:
            self.answer()
        elif choice < 0.95:
            self.write()
        self.pump()

    def step_without_crash(self) -> None:
        self.faulty = False
        self.step()

    def consume(self) -> None:
        if self.pipeline.paused or self.position >= len(self.log):
            return
        until = min(len(self.log), self.position + self.random.randint(1, 8))
        left = self.pipeline.consume(self.log[self.position : until], until, self.now)
        self.position = left[0].offset if left else until

    def pump(self) -> None:
        self.pipeline.tick(self.now)
        if self.pipeline.wants_end_offset:
            self.pipeline.end_offset(self.now, len(self.log), self.now)
        self.active.update(self.pipeline.take_woken())
        for channel in sorted(self.active):
            if self.random.random() < 0.7:
                self.send(channel)

    def records(self) -> dict[str, ResponseRecord]:
        """The newest of each response, tombstones aside."""
        return {key: decode_response(value) for key, value in self.responses if value is not None}

    def send(self, channel: str) -> None:
        taken = self.pipeline.next_frame(channel, self.now)
        if isinstance(taken, AskHistory):
            self.pipeline.history(channel, self.findings(channel) if self.ask_history else {}, self.now)
        elif taken is None:
            self.active.discard(channel)
        else:
            assert taken.response_id not in self.ended, "nothing is sent of a response whose final record is committed"
            self.inflight.append(taken)

    def answer(self) -> None:
        if self.inflight:
            frame = self.inflight.pop(self.random.randrange(len(self.inflight)))
            if frame.channel in self.refusing:
                self.pipeline.refused(frame, 40160, "no", self.now)
                return
            self.land(frame)
            if self.random.random() < 0.2:
                self.land(frame)  # its acknowledgement was lost: sent again with the same id
            self.pipeline.done(frame, self.now)

    def land(self, frame: Frame) -> None:
        if frame.id not in self.ids:
            self.ids.add(frame.id)
            self.published.append(frame)

    def write(self) -> None:
        self.read_back()
        if self.faulty and self.random.random() < 0.1:
            self.pipeline.collect(1_700_000_000_500)
            self.crash()  # the transaction never commits
            return
        self.write_now()

    def write_now(self) -> None:
        batch = self.pipeline.collect(1_700_000_000_500)
        offsets = list(range(len(self.responses), len(self.responses) + len(batch.saves)))
        point = self.pipeline.commit_point(batch, offsets)
        assert point.offset >= self.committed, "a commit never goes back"
        self.responses += [(save.record.response_id, encode_response(save.record)) for save in batch.saves]
        self.dead += [(letter.reason, letter.raw.offset) for letter in batch.dead_letters]
        self.committed, self.restore = point.offset, point.restore
        self.ended |= {save.record.response_id for save in batch.saves if save.record.finished}
        self.unwanted += batch.unwanted
        self.pipeline.committed(batch, point, self.now)

    def read_back(self) -> None:
        for _, offset in self.pipeline.texts_wanted():
            value = self.responses[offset][1]
            assert value is not None
            self.pipeline.read_back(decode_response(value))

    def findings(self, channel: str) -> dict[str, Published]:
        found: dict[str, Published] = {}
        frames = [frame for frame in self.published if frame.channel == channel]
        shown = self.random.randint(0, len(frames)) if self.stale_history else len(frames)
        for frame in frames[:shown]:
            before = found.get(frame.response_id, Published(-1, {}, False))
            end = int(frame.headers.get("seqEnd", frame.headers["seq"]))
            lengths = dict(before.lengths)
            if "offset" in frame.headers:
                part = frame.headers.get("part", "text")
                lengths[part] = int(frame.headers["offset"]) + utf16_length(frame.data or "")
            found[frame.response_id] = Published(
                max(end, before.seq_end), lengths, before.stopped or frame.name == "stop"
            )
        return found

    def finish(self, idle: float = 200.0) -> None:
        """Without further faults: consume all, answer all, let the timers run out, write all."""
        deadline = self.now + idle
        for _ in itertools.count():
            self.consume()
            self.pump()
            while self.inflight:
                frame = self.inflight.pop(0)
                if frame.channel in self.refusing:
                    self.pipeline.refused(frame, 40160, "no", self.now)
                else:
                    self.land(frame)
                    self.pipeline.done(frame, self.now)
                self.pump()
            if self.pipeline.wants_write:
                self.write_now()
            self.read_back()
            if self.now > deadline and not self.active:
                self.write_now()  # as a worker does from time to time, where only the position has moved
                return
            self.now += 0.5
