"""A reader of frames: assembles responses from what a channel delivers, including repeated, incomplete and missing
frames.

The rules, per response (`last` = the highest sequence number covered, from -1; L = the UTF-16 units of a part
received so far):

- A frame whose `seq` is above `last` + 1, or whose `offset` is above its part's L, shows a loss. It is held, and the
  response is among `needs()` until records, history or late frames fill the gap, or `give_up` accepts it.
- A frame that covers nothing new is a repeat and changes nothing.
- Otherwise the new part of its text is appended, and `last` becomes the larger of `last` and the frame's end.
- A `stop` is applied only when every part has the length that it states; then the hashes verify the copy.

A response's state is always a prefix of what was produced, so two sources are merged by taking the longer one; a
finished record replaces everything. No function does I/O or reads a clock. `clients/javascript` is the twin of this
module:
`tests/vectors` and a property test check that both give the same results.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from processor.reader.events import Appended, GapSeen, ReaderEvent, RepairNeeded, Replaced, Started, Stopped
from processor.reader.frames import (
    TEXT_PART,
    Message,
    ReceivedFrame,
    ReceivedPart,
    digests,
    parse_frame,
    sha256_of,
    utf16_length,
)

__all__ = ["Message", "Reader", "ReaderCounts", "ReaderLimits", "ReaderResponse"]

STREAMING = "streaming"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderLimits:
    """The bounds of a reader's memory.

    Finished responses beyond `finished` are dropped, the oldest first, and so are open ones beyond `open`, the
    earliest begun first. The last `remembered` ids of these are kept, so that their late frames are dropped.
    Frames held behind a loss beyond `held_frames` or `held_units` of a response are not kept: the response then needs
    a record.
    """

    finished: int = 100
    open: int = 1_000
    remembered: int = 10_000
    held_frames: int = 2_000
    held_units: int = 2_000_000


@dataclass(slots=True)
class ReaderCounts:
    frames: int = 0
    """Frames fed from the live channel, repeats among them."""
    ignored: int = 0
    """Messages that are not frames of this stream: another publisher's, or malformed."""
    repeats: int = 0
    losses: int = 0
    """How often a response turned out to miss something, a late join included."""
    reordered: int = 0
    """Live frames that came after frames of their response which they precede."""
    lost: int = 0
    """Tokens that `give_up` accepted as never to come."""
    mismatches: int = 0
    """Finished responses whose text differs from their stop or record."""


@dataclass(slots=True)
class ReaderResponse:
    """The state of one response. `verified` is None until hashes are available."""

    response_id: str
    status: str = STREAMING
    reason: str | None = None
    error: Any = None
    metadata: Any = None
    usage: Any = None
    parts: dict[str, ReceivedPart] = field(default_factory=dict)
    last: int = -1
    tokens: int = 0
    frames: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)
    complete: bool = True
    """False once a loss was given up, until a record fills it."""
    verified: bool | None = None
    expected: dict[str, tuple[int, str]] | None = None
    started_at: int | None = None
    held: dict[tuple[int, int, int, str], ReceivedFrame] = field(default_factory=dict)
    held_units: int = 0
    dropped_to: int = -1
    """The highest sequence number of a frame there was no room to hold."""
    settled: bool = False
    """Whether the losses known were given up. The end of the response asks once more: its record may be stored now."""

    @property
    def finished(self) -> bool:
        return self.status != STREAMING

    @property
    def text(self) -> str:
        """The answer itself: the `text` part."""
        return self.parts[TEXT_PART].text if TEXT_PART in self.parts else ""

    @property
    def replaceable(self) -> bool:
        """Whether the copy is finished and wrong, so that only the stored record can correct it."""
        return self.finished and (self.verified is False or (self.verified is None and not self.complete))

    @property
    def broken(self) -> bool:
        wrong = self.replaceable and not self.settled
        return bool(self.held) or (not self.finished and self.last < self.dropped_to) or wrong

    def length(self, part: str) -> int:
        return self.parts[part].length if part in self.parts else 0

    def is_repeat(self, frame: ReceivedFrame) -> bool:
        if self.finished:
            return True
        if frame.name == "stop":
            return False
        past = not frame.has_text or frame.offset + utf16_length(frame.data) <= self.length(frame.part)
        return frame.seq_end <= self.last and past

    def is_beyond(self, frame: ReceivedFrame) -> bool:
        """Whether something that comes before this frame is missing."""
        if frame.seq > self.last + 1:
            return True
        if frame.name == "stop":
            return any(length > self.length(part) for part, (length, _) in (digests(frame.data) or {}).items())
        return frame.has_text and frame.offset > self.length(frame.part)


class Reader:
    """Feed it what the channel, its history and the API give, in any order; ask it for responses and `needs()`."""

    def __init__(self, client_id: str = "tokenstream", limits: ReaderLimits | None = None) -> None:
        self._client_id = client_id
        self._limits = limits or ReaderLimits()
        self._responses: OrderedDict[str, ReaderResponse] = OrderedDict()
        self._let_go: OrderedDict[str, None] = OrderedDict()
        self.counts = ReaderCounts()

    @property
    def responses(self) -> Mapping[str, ReaderResponse]:
        return self._responses

    def needs(self) -> tuple[str, ...]:
        """Responses that miss something, oldest first."""
        return tuple(key for key, response in self._responses.items() if response.broken)

    def feed(self, message: Message) -> tuple[ReaderEvent, ...]:
        """Take a message as the live channel delivers it."""
        return tuple(self._take(message, live=True))

    def replay(self, messages: Iterable[Message]) -> tuple[ReaderEvent, ...]:
        """Take messages of the channel's history, oldest first. What is known already is no news."""
        return tuple(event for message in messages for event in self._take(message, live=False))

    def hydrate(self, record: Mapping[str, Any]) -> tuple[ReaderEvent, ...]:
        """Take a response record, finished or open, as the API or the `responses` topic gives it."""
        response_id = str(record["responseId"])
        if response_id in self._let_go:
            return ()
        response = self._open(response_id)
        response.started_at = record.get("startedAt", response.started_at)
        if response.finished and (not response.replaceable or record["status"] == STREAMING):
            return ()
        out: list[ReaderEvent] = [Replaced(response_id)]
        if record["status"] == STREAMING:
            _merge(response, record)
            out += self._drain(response, live=False)
        else:
            out.append(self._finish_from(response, record))
        return tuple(out)

    def give_up(self, response_id: str) -> tuple[ReaderEvent, ...]:
        """Accept that what a response misses will not come: show what is held, and set `complete` to false.

        Where that applies its stop, the response needs its record once more; given up again, it needs nothing.
        """
        response = self._responses.get(response_id)
        if response is None or not response.broken:
            return ()
        out: list[ReaderEvent] = []
        was_finished = response.finished
        held = [response.held[key] for key in sorted(response.held)]
        _release(response)
        for frame in held:
            if not response.is_repeat(frame):
                self.counts.lost += max(frame.seq - response.last - 1, int(response.is_beyond(frame)))
                out += self._apply(response, frame)
        if not response.finished and response.dropped_to > response.last:
            self.counts.lost += response.dropped_to - response.last
            response.last = response.dropped_to
        response.complete = False
        response.settled = was_finished or not response.finished
        return tuple(out)

    def drop(self, response_id: str) -> None:
        """Let a response go; its later frames are ignored."""
        if self._responses.pop(response_id, None) is not None:
            self._let_go[response_id] = None
            while len(self._let_go) > self._limits.remembered:
                self._let_go.popitem(last=False)

    def _take(self, message: Message, *, live: bool) -> list[ReaderEvent]:
        frame = parse_frame(message) if message.client_id == self._client_id else None
        if frame is None:
            self.counts.ignored += live
            return []
        self.counts.frames += live
        if frame.response_id in self._let_go:
            self.counts.repeats += live
            return []
        response = self._open(frame.response_id)
        if response.is_repeat(frame):
            self.counts.repeats += live
            return self._prove_late(response, frame)
        if response.is_beyond(frame):
            return self._hold(response, frame)
        self.counts.reordered += live and bool(response.held)
        return [*self._apply(response, frame), *self._drain(response, live=live)]

    def _open(self, response_id: str) -> ReaderResponse:
        response = self._responses.get(response_id)
        if response is None:
            response = self._responses[response_id] = ReaderResponse(response_id)
            self._bound()
        return response

    def _hold(self, response: ReaderResponse, frame: ReceivedFrame) -> list[ReaderEvent]:
        was_broken = response.broken
        units = utf16_length(frame.data) if frame.has_text else 0
        key = (frame.seq, frame.seq_end, frame.offset, frame.name)
        full = len(response.held) >= self._limits.held_frames or response.held_units + units > self._limits.held_units
        if key in response.held:
            return []
        if full:
            response.dropped_to = max(response.dropped_to, frame.seq_end)
        else:
            response.held[key] = frame
            response.held_units += units
        if was_broken:
            return []
        self.counts.losses += 1
        return [RepairNeeded(response.response_id)]

    def _drain(self, response: ReaderResponse, *, live: bool) -> list[ReaderEvent]:
        out: list[ReaderEvent] = []
        for key in sorted(response.held):
            frame = response.held.get(key)
            if frame is None:
                break
            if response.is_repeat(frame):
                self.counts.repeats += live
            elif response.is_beyond(frame):
                continue
            else:
                out += self._apply(response, frame)
            if response.held.pop(key, None) is not None and frame.has_text:
                response.held_units -= utf16_length(frame.data)
        return out

    def _apply(self, response: ReaderResponse, frame: ReceivedFrame) -> list[ReaderEvent]:
        covered = max(0, frame.seq_end - max(response.last, frame.seq - 1))
        response.last = max(response.last, frame.seq_end)
        response.frames += 1
        match frame.name:
            case "start":
                response.metadata = frame.data
                return [Started(response.response_id)]
            case "gap":
                response.gaps = _gaps([*response.gaps, (frame.seq, frame.seq_end)])
                return [GapSeen(response.response_id, frame.seq, frame.seq_end)]
            case "stop":
                return [self._stop(response, frame.data)]
            case "token" | "part":
                response.tokens += covered
                part = response.parts.get(frame.part)
                if part is None:
                    part = response.parts[frame.part] = ReceivedPart(frame.part, frame.kind, frame.info)
                elif part.info is None:
                    part.info = frame.info
                return [Appended(response.response_id, frame.part, part.write(frame.offset, frame.data))]

    def _stop(self, response: ReaderResponse, data: Any) -> Stopped:
        stop = data if isinstance(data, dict) else {}
        response.status, response.reason = str(stop.get("status") or "complete"), stop.get("reason")
        response.usage, response.error = stop.get("usage"), stop.get("error")
        response.expected = digests(stop)
        return self._finish(response)

    def _finish_from(self, response: ReaderResponse, record: Mapping[str, Any]) -> Stopped:
        parts = record.get("parts", [])
        response.parts = {}
        for part in parts:
            text = response.parts[part["part"]] = ReceivedPart(part["part"], part["kind"])
            text.replace(part["text"], part.get("info"))
        _describe(response, record)
        response.status, response.reason = record["status"], record.get("reason")
        response.usage, response.error = record.get("usage"), record.get("error")
        response.gaps = _gaps([(first, last) for first, last in record.get("gaps", [])])
        response.last, response.tokens, response.complete = record["seq"], record.get("tokens", 0), True
        if response.expected is None and all("sha256" in part for part in parts):
            response.expected = digests(record)
        return self._finish(response)

    def _finish(self, response: ReaderResponse) -> Stopped:
        _release(response)
        response.settled = False
        self._responses.move_to_end(response.response_id)  # the newest finished response is dropped last
        self._bound()
        return self._prove(response)

    def _prove(self, response: ReaderResponse) -> Stopped:
        response.verified = _proof(response)
        self.counts.mismatches += response.verified is False
        return Stopped(response.response_id, response.status, response.verified)

    def _prove_late(self, response: ReaderResponse, frame: ReceivedFrame) -> list[ReaderEvent]:
        """A stop after its finished record is a repeat, but may bring the hashes the record did not."""
        if frame.name != "stop" or response.expected is not None:
            return []
        response.expected = digests(frame.data)
        return [self._prove(response)] if response.expected is not None else []

    def _bound(self) -> None:
        finished = [key for key, response in self._responses.items() if response.finished]
        open_ids = [key for key, response in self._responses.items() if not response.finished]
        for key in finished[: max(0, len(finished) - self._limits.finished)]:
            self.drop(key)
        for key in open_ids[: max(0, len(open_ids) - self._limits.open)]:
            self.drop(key)


def _gaps(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return sorted(set(ranges))


def _proof(response: ReaderResponse) -> bool | None:
    if response.expected is None:
        return None
    if any(part.length and name not in response.expected for name, part in response.parts.items()):
        return False
    texts = {name: response.parts[name].text if name in response.parts else "" for name in response.expected}
    return all(
        utf16_length(texts[name]) == length and sha256_of(texts[name]) == sha256
        for name, (length, sha256) in response.expected.items()
    )


def _release(response: ReaderResponse) -> None:
    response.held.clear()
    response.held_units = 0


def _describe(response: ReaderResponse, record: Mapping[str, Any]) -> None:
    if record.get("metadata") is not None:
        response.metadata = record["metadata"]


def _merge(response: ReaderResponse, record: Mapping[str, Any]) -> None:
    """Take from an open record what it has beyond ours. It may be older than what we hold."""
    ahead = record["seq"] >= response.last
    for part in record.get("parts", []):
        mine = response.parts.get(part["part"])
        if mine is None:
            mine = response.parts[part["part"]] = ReceivedPart(part["part"], part["kind"])
        longer = part["length"] > mine.length
        mends = ahead and not response.complete and part["length"] == mine.length
        if longer or mends:
            mine.replace(part["text"], part.get("info"))
    _describe(response, record)
    if ahead:
        response.last, response.tokens, response.complete = record["seq"], record.get("tokens", 0), True
        response.gaps = _gaps([*response.gaps, *((first, last) for first, last in record.get("gaps", []))])
        response.settled = False
