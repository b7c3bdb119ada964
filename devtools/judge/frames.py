"""The judge that reads as a reader does: compares what was published on a channel with what was produced. Pure.

It shares no code with the relay. It looks at the raw publish log (order as published, repeats included), and reads the
log with `processor.reader.reader`, as a browser would.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

from processor.reader.frames import ReceivedFrame, digests, parse_frame, sha256_of, utf16_length
from processor.reader.reader import Message, Reader, ReaderLimits

Texts = Mapping[str, str]
"""By part."""
EVERY_RESPONSE = 1_000_000


@dataclass(slots=True)
class Report:
    """Counts of frames and of errors; `details` has the first errors."""

    frames: int = 0
    text_frames: int = 0
    tokens: int = 0
    out_of_order: int = 0
    """Frames published after one that comes behind them, or after the stop."""
    lost: int = 0
    """Sequence numbers that no frame covers, an announced gap being cover."""
    holes: int = 0
    """Frames whose text is beyond what was published of its part by then."""
    repeated_as_published: int = 0
    """Sequence numbers that had been published before."""
    repeated_for_reader: int = 0
    """Parts that the reader shows longer than they were produced."""
    lost_for_reader: int = 0
    """Parts that the reader shows shorter than they were produced, or otherwise than they were."""
    unfinished: int = 0
    """Produced responses without a stop."""
    mismatches: int = 0
    """Parts whose length or hash in the stop is not that of what was produced."""
    malformed: int = 0
    uncommitted: int = 0
    """Tokens of responses of which no committed record holds all, where records are judged, too."""
    details: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> dict[str, int]:
        """Returns the counts above 0 that must be 0. Repeats as published are allowed where the platform can't rule them out."""
        allowed = ("frames", "text_frames", "tokens", "repeated_as_published", "details")
        counts = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in allowed}
        return {name: count for name, count in counts.items() if count}

    @property
    def perfect(self) -> bool:
        """Returns True if nothing is wrong, and nothing was published twice."""
        return not self.faults(repeats_allowed=False)

    def faults(self, *, repeats_allowed: bool) -> dict[str, int]:
        """Returns the counts above 0 that must be 0. After a crash frames may come again; readers drop them by their offset."""
        repeated = 0 if repeats_allowed else self.repeated_as_published
        return self.wrong | ({"repeated_as_published": repeated} if repeated else {})

    def add(self, other: "Report") -> None:
        """Adds the counts of another channel."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def note_error(self, what: str) -> None:
        if len(self.details) < 50:
            self.details.append(what)


@dataclass(slots=True)
class _Seen:
    """One response, as published so far: every number up to `highest` but those `missing`."""

    missing: set[int] = field(default_factory=set)
    highest: int = -1
    positions: dict[str, int] = field(default_factory=dict)
    stop: ReceivedFrame | None = None

    def covered(self, frame: ReceivedFrame) -> int:
        """Returns how many numbers of the frame were published before."""
        below = min(frame.seq_end, self.highest) - frame.seq + 1
        return max(0, below) - len(self.missing.intersection(range(frame.seq, frame.seq_end + 1)))

    def is_behind(self, frame: ReceivedFrame) -> bool:
        return self.stop is not None or frame.seq_end < self.highest or frame.seq in self.missing

    def is_piece(self, frame: ReceivedFrame) -> bool:
        """Returns True if it continues a large token. Pieces of one share their number; their position distinguishes them."""
        return frame.has_text and bool(frame.data) and frame.offset >= self.positions.get(frame.part, 0)

    def cover(self, frame: ReceivedFrame) -> None:
        self.missing.update(range(self.highest + 1, frame.seq))
        self.missing.difference_update(range(frame.seq, frame.seq_end + 1))
        self.highest = max(self.highest, frame.seq_end)


class FramesJudge:
    """Call `feed` with each channel's messages in order, `compare` with what was produced, then `finish` for the report.

    `feed` returns the sequence numbers that were new in the message: (response, first, last), or None.
    """

    def __init__(self, client_id: str = "tokenstream") -> None:
        self.report = Report()
        self._client_id = client_id
        self._seen: dict[str, _Seen] = {}
        self._reader = Reader(client_id, ReaderLimits(finished=EVERY_RESPONSE, open=EVERY_RESPONSE))

    def feed(self, message: Message) -> tuple[str, int, int] | None:
        if message.client_id != self._client_id:
            return None
        self._reader.feed(message)
        frame = parse_frame(message)
        if frame is None:
            self.report.malformed += 1
            self.report.note_error(f"malformed: {message}")
            return None
        one = self._seen.setdefault(frame.response_id, _Seen())
        before = one.highest
        self._take(one, frame)
        return (frame.response_id, max(frame.seq, before + 1), one.highest) if one.highest > before else None

    def _take(self, one: _Seen, frame: ReceivedFrame) -> None:
        report, covered = self.report, one.covered(frame)
        where = f"{frame.response_id} {frame.name} {frame.seq}-{frame.seq_end}/{frame.offset}"
        report.frames += 1
        if covered and not one.is_piece(frame):
            report.repeated_as_published += covered
            report.note_error(f"repeated: {where}")
        elif one.is_behind(frame):
            report.out_of_order += 1
            report.note_error(f"out of order: {where}, after {one.highest}")
        if frame.has_text:
            report.text_frames += 1
            report.tokens += frame.seq_end - frame.seq + 1 - covered
            self._take_text(one, frame, where)
        one.cover(frame)
        if frame.name == "stop":
            one.stop = one.stop or frame

    def _take_text(self, one: _Seen, frame: ReceivedFrame, where: str) -> None:
        position = one.positions.get(frame.part, 0)
        if frame.offset > position:
            self.report.holes += 1
            self.report.note_error(f"a hole in {frame.part} before offset: {where}, {position} published")
        one.positions[frame.part] = max(position, frame.offset + utf16_length(frame.data))

    def compare(self, response_id: str, texts: Texts) -> None:
        """Judges the stop of a response, and what a reader shows of it, by what was produced."""
        _check_stop(self.report, response_id, self._seen.get(response_id, _Seen()).stop, texts)
        response = self._reader.responses.get(response_id)
        for part, text in texts.items():
            shown = response.parts[part].text if response is not None and part in response.parts else ""
            _compare(self.report, f"{response_id} {part}", shown, text)

    def finish(self) -> Report:
        """Returns the report. Called once, after the last message."""
        for response_id, one in self._seen.items():
            if one.missing:
                self.report.lost += len(one.missing)
                self.report.note_error(f"lost: {response_id} {sorted(one.missing)[:10]}")
        return self.report


def check(published: Iterable[Message], produced: Mapping[str, Texts], *, client_id: str = "tokenstream") -> Report:
    """`published`: all messages of the channel, in order. `produced`: texts by response and part."""
    judge = FramesJudge(client_id)
    for message in published:
        judge.feed(message)
    for response_id, texts in produced.items():
        judge.compare(response_id, texts)
    return judge.finish()


def _check_stop(report: Report, response_id: str, stop: ReceivedFrame | None, texts: Texts) -> None:
    if stop is None:
        report.unfinished += 1
        report.note_error(f"unfinished: {response_id}")
        return
    digest_of = digests(stop.data) or {}
    for part in digest_of.keys() | {part for part, text in texts.items() if text}:
        text = texts.get(part, "")
        if digest_of.get(part) != (utf16_length(text), sha256_of(text)):
            report.mismatches += 1
            report.note_error(
                f"mismatch: {response_id} {part} has {digest_of.get(part)}, produced {utf16_length(text)} units"
            )


def _compare(report: Report, where: str, shown: str, text: str) -> None:
    if shown == text:
        return
    report.note_error(f"as read: {where} ends {shown[-40:]!r}, not {text[-40:]!r}")
    if utf16_length(shown) > utf16_length(text):
        report.repeated_for_reader += 1
    else:
        report.lost_for_reader += 1
