"""The text of open responses and the records of recently ended ones, assembled from `frames` and `responses`.

A response is assembled by the reader's rules, so what the gateway knows of it is always a prefix of what was produced.
Memory is bounded: ended responses are dropped first, then the open ones that have been idle for longest.
A response whose text is out of memory, or that misses something, is among `lacking`; a record from the store and the
buffered frames complete it.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from processor.gateway.events import FrameRead, encode_json
from processor.reader.reader import Reader, ReaderLimits, ReaderResponse
from topics.records import Status

TRANSCRIPT_COST = 4096
"""Bytes of memory that an open response takes beside its text."""
MAX_ENDED = 200_000
"""Ids of ended responses that are known; beyond, the oldest are forgotten."""
_ONE = ReaderLimits(finished=1, open=1, remembered=1)


class RecordSummary(msgspec.Struct, rename="camel"):
    """What decides about a record, read without its text."""

    response_id: str
    channel: str
    status: Status
    seq: int
    started_at: int
    finished_at: int | None = None


read_summary = msgspec.json.Decoder(RecordSummary).decode


@dataclass(frozen=True, slots=True)
class ResponseSnapshot:
    """A response record in JSON. `serial` is that of the newest frame it may cover: earlier frames add nothing to it."""

    response_id: str
    channel: str
    seq: int
    started_at: int
    finished: bool
    value: bytes
    serial: int


class Transcript:
    """One open response, or one whose stop came and whose final record did not."""

    __slots__ = (
        "_reader",
        "channel",
        "covered",
        "first_token_at",
        "in_memory",
        "response_id",
        "size",
        "started_at",
        "touched",
        "updated_at",
    )

    def __init__(self, response_id: str, channel: str, at: int) -> None:
        self.response_id = response_id
        self.channel = channel
        self.started_at = self.updated_at = at
        self.first_token_at: int | None = None
        self.touched = at
        """When (ms) a frame or a record last came."""
        self.covered = -1
        """The highest sequence number that is known to exist."""
        self._empty()

    def _empty(self) -> None:
        self._reader = Reader(limits=_ONE)
        self.size = TRANSCRIPT_COST
        self.in_memory = True

    @property
    def response(self) -> ReaderResponse | None:
        return self._reader.responses.get(self.response_id)

    @property
    def ended(self) -> bool:
        return self.response is not None and self.response.finished

    @property
    def lacks(self) -> bool:
        """Whether text that is known to exist is not here."""
        if not self.in_memory:
            return True
        response = self.response
        return response is None or response.broken or response.last < self.covered

    def take(self, read: FrameRead) -> int:
        """Applies a frame. Returns by how many bytes the transcript grew."""
        logged, frame = read.logged, read.frame
        self.covered = max(self.covered, frame.seq_end)
        self.updated_at = max(self.updated_at, logged.ts)
        if frame.has_text and self.first_token_at is None:
            self.first_token_at = logged.ts
        if not self.in_memory:
            return 0
        self._reader.feed(read.message)
        grown = len(frame.data) if frame.has_text else 0
        self.size += grown
        return grown

    def hydrate(self, record: Mapping[str, Any]) -> int:
        """Takes what a record has beyond the transcript. Returns by how many bytes it grew."""
        before, self.in_memory = self.size, True
        self._reader.hydrate(record)
        self.covered = max(self.covered, int(record["seq"]))
        self.started_at = int(record.get("startedAt") or self.started_at)
        self.first_token_at = record.get("firstTokenAt") or self.first_token_at
        self.size = TRANSCRIPT_COST + sum(len(part.text) for part in self._parts())
        return self.size - before

    def restore(self, record: Mapping[str, Any] | None) -> int:
        """Begins to hold the text again. Returns by how many bytes the transcript grew."""
        if record is not None:
            return self.hydrate(record)
        self.in_memory = True
        return 0

    def evict(self) -> int:
        """Lets the text go. Returns how many bytes that frees."""
        freed = self.size - TRANSCRIPT_COST
        self._empty()
        self.in_memory = False
        return freed

    def _parts(self) -> Iterable[Any]:
        return () if self.response is None else self.response.parts.values()

    def snapshot(self, serial: int) -> ResponseSnapshot:
        """The record of what is known, in the format of `responses`."""
        response = self.response or ReaderResponse(self.response_id)
        parts = [
            {
                "part": part.part,
                "kind": part.kind,
                **({"info": part.info} if part.info else {}),
                "text": part.text,
                "length": part.length,
            }
            for part in response.parts.values()
        ]
        finished = response.finished
        record = {
            "v": 1,
            "responseId": self.response_id,
            "channel": self.channel,
            "status": response.status,
            "reason": response.reason,
            "error": response.error,
            "parts": parts,
            "seq": response.last,
            "tokens": response.tokens,
            "gaps": response.gaps,
            "metadata": response.metadata,
            "usage": response.usage,
            "startedAt": self.started_at,
            "firstTokenAt": self.first_token_at,
            "updatedAt": self.updated_at,
            "finishedAt": self.updated_at if finished else None,
            "relay": {},
        }
        value = encode_json(record)
        return ResponseSnapshot(self.response_id, self.channel, response.last, self.started_at, finished, value, serial)


@dataclass(frozen=True, slots=True)
class EndedResponse:
    """`value` is the final record; None once it left memory."""

    channel: str
    started_at: int
    finished_at: int
    seq: int
    value: bytes | None


class Transcripts:
    """All responses of the gateway, by id and by channel."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._open: OrderedDict[str, Transcript] = OrderedDict()
        """The one that changed last is last."""
        self._resident: OrderedDict[str, None] = OrderedDict()
        """Those whose text is in memory, in the same order."""
        self._ended: OrderedDict[str, EndedResponse] = OrderedDict()
        self._kept: OrderedDict[str, int] = OrderedDict()
        """Size of the ended records that are in memory, the oldest first."""
        self._channels: dict[str, dict[str, None]] = {}
        """Ids by channel, in the order in which they became known."""
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._open)

    def apply(self, read: FrameRead, now_ms: int) -> None:
        """Takes a frame of the log. Frames of a response whose final record is known add nothing."""
        response_id = read.logged.response_id
        if response_id in self._ended:
            return
        transcript = self._open.get(response_id)
        if transcript is None:
            transcript = self._opened(response_id, read.logged.channel, read.logged.ts or now_ms)
        self.bytes += transcript.take(read)
        self._touch(transcript, now_ms)
        self._bound()

    def take_record(self, response_id: str, value: bytes | None, now_ms: int) -> None:
        """Applies a record of `responses`; a tombstone is None. Raises ValueError for an invalid record."""
        if value is None:
            self._forget(response_id)
            return
        summary = read_summary(value)
        if summary.status.finished:
            self._end(summary, value, now_ms)
        elif response_id not in self._ended:
            self._refresh(summary, value, now_ms)

    def complete(self, response_id: str, value: bytes | None, frames: Iterable[FrameRead], now_ms: int) -> None:
        """Completes a transcript that lacks something by a stored record, open or finished, and the buffered frames.

        Without a record the frames are enough where the response's start is among them.
        """
        summary = None if value is None else read_summary(value)
        if value is not None and summary is not None and summary.status.finished:
            self._end(summary, value, summary.finished_at or now_ms)
            return
        transcript = self._open.get(response_id)
        if transcript is None:
            return
        self.bytes += transcript.restore(None if value is None else orjson.loads(value))
        for read in frames:
            self.bytes += transcript.take(read)
        self._touch(transcript, now_ms)
        self._bound()

    def expire(self, before_ms: int, idle_before_ms: int) -> None:
        """Forgets responses that ended before `before_ms`, and open ones of which nothing came since `idle_before_ms`."""
        while self._ended and next(iter(self._ended.values())).finished_at < before_ms:
            self._forget(next(iter(self._ended)))
        while self._open and next(iter(self._open.values())).touched < idle_before_ms:
            self._forget(next(iter(self._open)))

    def open_in(self, channel: str) -> list[str]:
        """Ids of responses without a final record, the first begun first."""
        found = [self._open[each] for each in self._channels.get(channel, ()) if each in self._open]
        return [each.response_id for each in sorted(found, key=lambda each: each.started_at)]

    def ended_in(self, channel: str) -> Iterator[tuple[str, EndedResponse]]:
        """Responses whose final record was read lately."""
        for each in self._channels.get(channel, ()):
            if (ended := self._ended.get(each)) is not None:
                yield each, ended

    def transcript(self, response_id: str) -> Transcript | None:
        return self._open.get(response_id)

    def ended(self, response_id: str) -> EndedResponse | None:
        return self._ended.get(response_id)

    def _opened(self, response_id: str, channel: str, at: int) -> Transcript:
        transcript = self._open[response_id] = Transcript(response_id, channel, at)
        self._channels.setdefault(channel, {})[response_id] = None
        self.bytes += transcript.size
        return transcript

    def _touch(self, transcript: Transcript, now_ms: int) -> None:
        transcript.touched = now_ms
        self._open.move_to_end(transcript.response_id)
        if transcript.in_memory:
            self._resident[transcript.response_id] = None
            self._resident.move_to_end(transcript.response_id)

    def _refresh(self, summary: RecordSummary, value: bytes, now_ms: int) -> None:
        transcript = self._open.get(summary.response_id)
        is_new = transcript is None
        if transcript is None:
            transcript = self._opened(summary.response_id, summary.channel, summary.started_at)
        elif transcript.in_memory and not transcript.lacks and transcript.covered >= summary.seq:
            return  # the frames have as much
        if transcript.in_memory:
            try:
                self.bytes += transcript.hydrate(orjson.loads(value))
            except (TypeError, ValueError, LookupError, AttributeError) as error:
                if is_new:
                    self._forget(summary.response_id)
                raise ValueError(f"the record can't be applied: {type(error).__name__}") from error
        self._touch(transcript, now_ms)
        self._bound()

    def _end(self, summary: RecordSummary, value: bytes, now_ms: int) -> None:
        response_id = summary.response_id
        self._forget(response_id)
        finished_at = now_ms if summary.finished_at is None else summary.finished_at
        self._ended[response_id] = EndedResponse(summary.channel, summary.started_at, finished_at, summary.seq, value)
        self._channels.setdefault(summary.channel, {})[response_id] = None
        self._kept[response_id] = len(value)
        self.bytes += len(value)
        if len(self._ended) > MAX_ENDED:
            self._forget(next(iter(self._ended)))
        self._bound()

    def _forget(self, response_id: str) -> None:
        transcript, ended = self._open.pop(response_id, None), self._ended.pop(response_id, None)
        self._resident.pop(response_id, None)
        if transcript is not None:
            self.bytes -= transcript.size
        self.bytes -= self._kept.pop(response_id, 0)
        for channel in {each.channel for each in (transcript, ended) if each is not None}:
            ids = self._channels.get(channel, {})
            ids.pop(response_id, None)
            if not ids:
                self._channels.pop(channel, None)

    def _bound(self) -> None:
        """Keeps to the budget. The response that changed last keeps its text."""
        while self.bytes > self._max_bytes and self._kept:
            response_id, size = self._kept.popitem(last=False)
            ended = self._ended[response_id]
            self._ended[response_id] = EndedResponse(
                ended.channel, ended.started_at, ended.finished_at, ended.seq, None
            )
            self.bytes -= size
        while self.bytes > self._max_bytes and len(self._resident) > 1:
            response_id, _ = self._resident.popitem(last=False)
            self.bytes -= self._open[response_id].evict()
