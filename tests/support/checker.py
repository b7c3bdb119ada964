"""The independent checker: what was published on a channel, against what was produced. Import it as `from checker
import check`.

It shares no code with the relay. It looks at the raw publish log (order as published, repeats included), and reads
the log with `processor.reader.reader`, as a browser would.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from processor.reader.frames import ReceivedFrame, digests, parse_frame, sha256_of, utf16_length
from processor.reader.reader import Message, Reader

Texts = Mapping[str, str]
"""By part."""


@dataclass(slots=True)
class Report:
    """Counts of what is wrong; `details` names the first of each."""

    frames: int = 0
    tokens: int = 0
    out_of_order: int = 0
    """Frames published after one that comes behind them, or after the stop."""
    lost: int = 0
    """Sequence numbers that no frame covers, an announced gap being cover."""
    holes: int = 0
    """Frames whose text is beyond what was published of its part by then."""
    repeated_as_published: int = 0
    """Frames of which something had been published before."""
    repeated_for_reader: int = 0
    """Parts that the reader shows longer than they were produced."""
    lost_for_reader: int = 0
    """Parts that the reader shows shorter than they were produced, or otherwise than they were."""
    unfinished: int = 0
    """Produced responses without a stop."""
    mismatches: int = 0
    """Parts whose length or hash in the stop is not that of what was produced."""
    malformed: int = 0
    details: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> dict[str, int]:
        """What is above 0 and must not be. Repeats as published are allowed where the platform can't rule them out."""
        allowed = ("frames", "tokens", "repeated_as_published", "details")
        counts = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in allowed}
        return {name: count for name, count in counts.items() if count}

    @property
    def perfect(self) -> bool:
        """Nothing wrong, and nothing published twice."""
        return not self.wrong and not self.repeated_as_published

    def say(self, what: str) -> None:
        if len(self.details) < 50:
            self.details.append(what)


@dataclass(slots=True)
class _Seen:
    """One response, as published so far."""

    covered: set[int] = field(default_factory=set)
    highest: int = -1
    positions: dict[str, int] = field(default_factory=dict)
    stop: ReceivedFrame | None = None


def check(published: Iterable[Message], produced: Mapping[str, Texts], *, client_id: str = "tokenstream") -> Report:
    """`published`: all messages of the channel, in order. `produced`: texts by response and part."""
    report = Report()
    seen: dict[str, _Seen] = {}
    messages = [message for message in published if message.client_id == client_id]
    for message in messages:
        frame = parse_frame(message)
        if frame is None:
            report.malformed += 1
            report.say(f"malformed: {message}")
            continue
        _check_frame(report, seen.setdefault(frame.response_id, _Seen()), frame)
    for response_id, one in seen.items():
        _check_cover(report, response_id, one)
    for response_id, texts in produced.items():
        _check_stop(report, response_id, seen.get(response_id, _Seen()).stop, texts)
    _check_as_read(report, messages, produced, client_id)
    return report


def published_on(log: Mapping[str, Sequence[Any]], channel: str) -> list[Message]:
    """A channel's messages, from `LocalRealtime(admin=True).log`."""
    return [_from_wire(message) for message in log.get(channel, ())]


def _from_wire(message: Any) -> Message:
    data = json.loads(message.data) if message.encoding == "json" else message.data
    headers = (message.extras or {}).get("headers", {})
    return Message(name=message.name, data=data, headers=headers, client_id=message.client_id, id=message.id)


def _check_frame(report: Report, one: _Seen, frame: ReceivedFrame) -> None:
    where = f"{frame.response_id} {frame.name} {frame.seq}-{frame.seq_end}/{frame.offset}"
    report.frames += 1
    if _is_repeated(one, frame):
        report.repeated_as_published += 1
        report.say(f"repeated: {where}")
    elif one.stop is not None or frame.seq_end < one.highest or _is_behind(one, frame):
        report.out_of_order += 1
        report.say(f"out of order: {where}, after {one.highest}")
    numbers = set(range(frame.seq, frame.seq_end + 1))
    if frame.has_text:
        report.tokens += len(numbers - one.covered)
        position = one.positions.get(frame.part, 0)
        if frame.offset > position:
            report.holes += 1
            report.say(f"a hole in {frame.part} before offset: {where}, {position} published")
        one.positions[frame.part] = max(position, frame.offset + utf16_length(frame.data))
    one.covered |= numbers
    one.highest = max(one.highest, frame.seq_end)
    if frame.name == "stop":
        one.stop = one.stop or frame


def _is_repeated(one: _Seen, frame: ReceivedFrame) -> bool:
    """Pieces of one large token share their number; their position distinguishes them."""
    is_piece = frame.has_text and bool(frame.data) and frame.offset >= one.positions.get(frame.part, 0)
    return not is_piece and not one.covered.isdisjoint(range(frame.seq, frame.seq_end + 1))


def _is_behind(one: _Seen, frame: ReceivedFrame) -> bool:
    return frame.seq <= one.highest and frame.seq not in one.covered


def _check_cover(report: Report, response_id: str, one: _Seen) -> None:
    missing = set(range(one.highest + 1)) - one.covered
    if missing:
        report.lost += len(missing)
        report.say(f"lost: {response_id} {sorted(missing)[:10]}")


def _check_stop(report: Report, response_id: str, stop: ReceivedFrame | None, texts: Texts) -> None:
    if stop is None:
        report.unfinished += 1
        report.say(f"unfinished: {response_id}")
        return
    told = digests(stop.data) or {}
    for part in told.keys() | {part for part, text in texts.items() if text}:
        text = texts.get(part, "")
        if told.get(part) != (utf16_length(text), sha256_of(text)):
            report.mismatches += 1
            report.say(f"mismatch: {response_id} {part} says {told.get(part)}, produced {utf16_length(text)} units")


def _check_as_read(report: Report, messages: Sequence[Message], produced: Mapping[str, Texts], client_id: str) -> None:
    reader = Reader(client_id)
    last = {message.headers.get("responseId"): index for index, message in enumerate(messages)}
    shown: dict[str, Texts] = {}
    for index, message in enumerate(messages):
        reader.feed(message)
        response_id = message.headers.get("responseId", "")
        response = reader.responses.get(response_id)
        if last[response_id] == index and response is not None:  # read before it is dropped
            shown[response_id] = {name: part.text for name, part in response.parts.items()}
    for response_id, texts in produced.items():
        for part, text in texts.items():
            _compare(report, f"{response_id} {part}", shown.get(response_id, {}).get(part, ""), text)


def _compare(report: Report, where: str, shown: str, text: str) -> None:
    if shown == text:
        return
    report.say(f"as read: {where} ends {shown[-40:]!r}, not {text[-40:]!r}")
    if utf16_length(shown) > utf16_length(text):
        report.repeated_for_reader += 1
    else:
        report.lost_for_reader += 1
