"""Checks every frame and every record of a run against what was produced. Pure; shares no code with the writer of
frames.

Stricter than a reader: as published, each response's frames must follow each other without gap, repeat or reordering,
their text must be what was produced, and the stop must have its length and hash.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from devtools.bench.load import Load
from processor.reader.frames import Message, ReceivedFrame, digests, parse_frame, sha256_of, utf16_length, utf16_tail
from topics.records import ResponseRecord

MAX_EXAMPLES = 20


@dataclass(slots=True)
class Verdict:
    """Counts of tokens and of errors; `examples` has the first errors."""

    tokens: int = 0
    frames: int = 0
    token_frames: int = 0
    lost: int = 0
    repeated: int = 0
    reordered: int = 0
    wrong_text: int = 0
    malformed: int = 0
    unfinished: int = 0
    uncommitted: int = 0
    examples: list[str] = field(default_factory=list)

    def faults(self, *, repeats_allowed: bool = False) -> dict[str, int]:
        """What is above zero and must not be. After a crash frames may come again; readers drop them by their offset."""
        names = ("lost", "repeated", "reordered", "wrong_text", "malformed", "unfinished", "uncommitted")
        counts = {name: getattr(self, name) for name in names if not (repeats_allowed and name == "repeated")}
        return {name: count for name, count in counts.items() if count}

    def note_error(self, what: str) -> None:
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(what)


@dataclass(slots=True)
class _Seen:
    """One response as published so far."""

    last: int = -1
    texts: dict[str, list[str]] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    missing: set[int] = field(default_factory=set)
    """What a hole left out, so far."""
    stopped: bool = False


class Checker:
    """Call `feed` with the frames of each channel in their order, and `commit` with final records in any order; then
    call `verdict`.

    `feed` returns the sequence numbers that were new in the message: (response, first, last), or None.
    """

    def __init__(self, load: Load, client_id: str = "tokenstream") -> None:
        self._load = load
        self._client_id = client_id
        self._seen: dict[int, _Seen] = {}
        self._finals: dict[int, ResponseRecord] = {}
        self._counts = Verdict()

    @property
    def stopped(self) -> int:
        return sum(one.stopped for one in self._seen.values())

    @property
    def committed(self) -> int:
        return len(self._finals)

    def feed(self, message: Message) -> tuple[int, int, int] | None:
        counts = self._counts
        if message.client_id != self._client_id:
            return None
        frame = parse_frame(message)
        number = self._load.number(frame.response_id) if frame is not None else None
        if frame is None or number is None:
            counts.malformed += 1
            counts.note_error(f"malformed, or of no response that was produced: {message}"[:300])
            return None
        counts.frames += 1
        counts.token_frames += frame.has_text
        one = self._seen.setdefault(number, _Seen())
        where = f"{frame.response_id} {frame.name} {frame.seq}-{frame.seq_end}/{frame.offset}"
        if frame.seq > one.last + 1:
            counts.lost += frame.seq - one.last - 1
            one.missing.update(range(one.last + 1, frame.seq))
            counts.note_error(f"a hole: {where} came after {one.last}")
        elif frame.seq_end <= one.last:
            self._again(one, frame, where)
            return None
        elif frame.seq <= one.last:
            counts.repeated += one.last - frame.seq + 1
            counts.note_error(f"partly again: {where} came after {one.last}")
        if one.stopped:
            counts.reordered += 1
            counts.note_error(f"after the stop: {where}")
        self._take(number, one, frame, where)
        first, one.last = max(frame.seq, one.last + 1), max(one.last, frame.seq_end)
        return number, first, one.last

    def _again(self, one: _Seen, frame: ReceivedFrame, where: str) -> None:
        """A frame that begins with what was passed before: it was overtaken, or is a repeat."""
        numbers = set(range(frame.seq, frame.seq_end + 1))
        if numbers & one.missing:
            one.missing -= numbers
            self._counts.reordered += 1
            self._counts.note_error(f"out of order: {where} came after {one.last}")
        else:
            self._counts.repeated += len(numbers)
            self._counts.note_error(f"again: {where} came after {one.last}")

    def _take(self, number: int, one: _Seen, frame: ReceivedFrame, where: str) -> None:
        if frame.has_text:
            self._counts.tokens += frame.seq_end - max(frame.seq - 1, one.last)
            length = one.lengths.get(frame.part, 0)
            if frame.offset > length or (frame.offset < length and frame.seq > one.last):
                self._counts.lost += frame.offset > length
                self._counts.repeated += frame.offset < length
                self._counts.note_error(f"at the wrong offset: {where}, with {length} units there")
            text = utf16_tail(frame.data, max(0, length - frame.offset))
            one.texts.setdefault(frame.part, []).append(text)
            one.lengths[frame.part] = max(length, frame.offset + utf16_length(frame.data))
        elif frame.name == "stop":
            one.stopped = True
            self._compare_stop(number, frame.data, where)
        elif frame.name == "gap":
            self._counts.lost += frame.seq_end - frame.seq + 1
            self._counts.note_error(f"announced as lost: {where}")

    def _compare_stop(self, number: int, content: Any, where: str) -> None:
        wanted = {
            part: (utf16_length(text), sha256_of(text)) for part, text in self._load.parts(number).items() if text
        }
        if digests(content) != wanted:
            self._counts.wrong_text += 1
            self._counts.note_error(f"{where} proves another text than was produced")

    def commit(self, record: ResponseRecord) -> bool:
        """A committed record. Whether it is the first final one of a response of this load."""
        number = self._load.number(record.response_id)
        if number is None or not record.finished:
            return False
        known = number in self._finals
        self._finals[number] = record
        return not known

    def verdict(self) -> Verdict:
        """What is wrong, everything that should have come having come or not. To be asked once, at the end."""
        for number in range(self._load.responses):
            parts = self._load.parts(number)
            self._judge_frames(number, parts)
            if not self._load.leave_open:
                self._judge_record(number, parts)
        return self._counts

    def _judge_frames(self, number: int, parts: Mapping[str, str]) -> None:
        one = self._seen.get(number, _Seen())
        if not one.stopped and not self._load.leave_open:
            self._counts.unfinished += 1
            self._counts.note_error(f"unfinished: {self._load.response_id(number)}, at {one.last}")
        for part, text in parts.items():
            seen = "".join(one.texts.get(part, ()))
            if seen == text:
                continue
            if text.startswith(seen):
                self._counts.lost += 1
                self._counts.note_error(
                    f"{self._load.response_id(number)} {part} ends after {len(seen)} of {len(text)}"
                )
            else:
                self._counts.wrong_text += 1
                self._counts.note_error(f"{self._load.response_id(number)} {part} reads otherwise than it was produced")

    def _judge_record(self, number: int, parts: Mapping[str, str]) -> None:
        record = self._finals.get(number)
        stored = {part.part: part.text for part in record.parts} if record is not None else {}
        wanted = {part: text for part, text in parts.items() if text}
        if record is None or stored != wanted or record.tokens != len(self._load.texts(number)):
            self._counts.uncommitted += len(self._load.texts(number))
            self._counts.note_error(f"not whole in a committed record: {self._load.response_id(number)}")
