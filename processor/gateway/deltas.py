"""One response as a sequence of appended texts and one end, for formats without offsets and repeats."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from processor.reader.frames import ReceivedFrame, utf16_length, utf16_tail
from topics.errors import TokenstreamError


@dataclass(frozen=True, slots=True)
class PartDelta:
    """Text to append to a part. `opens` is set on the part's first delta, which may have an empty text."""

    part: str
    kind: str
    info: Mapping[str, Any]
    text: str
    opens: bool


@dataclass(frozen=True, slots=True)
class ResponseEnd:
    status: str
    reason: str
    usage: Mapping[str, Any] | None
    error: Mapping[str, Any] | None


class FrameMissing(TokenstreamError):
    """The frame begins after text that was not given. A record of the response fills the hole."""


@dataclass(slots=True)
class Deltas:
    """Gives each character once, whatever records and frames repeat."""

    lengths: dict[str, int] = field(default_factory=dict)
    end: ResponseEnd | None = None

    def of_record(self, record: Mapping[str, Any]) -> list[PartDelta]:
        """Takes a response record, open or finished."""
        if self.end is not None:
            return []
        deltas = [delta for part in record.get("parts") or () for delta in self._of_part(part)]
        if record["status"] != "streaming":
            self.end = _end(record)
        return deltas

    def of_frame(self, frame: ReceivedFrame) -> list[PartDelta]:
        """Raises FrameMissing, and then changes nothing."""
        if self.end is not None:
            return []
        if frame.name == "stop":
            stop = frame.data if isinstance(frame.data, dict) else {}
            self._check_parts(stop.get("parts"))
            self.end = _end({"status": "complete", **stop})
            return []
        if not frame.has_text:
            return []
        return list(self._append(frame.part, frame.kind, frame.info, frame.offset, frame.data))

    def _of_part(self, part: Mapping[str, Any]) -> Iterable[PartDelta]:
        return self._append(part["part"], part["kind"], part.get("info"), 0, part["text"])

    def _append(self, part: str, kind: str, info: Any, offset: int, text: str) -> Iterable[PartDelta]:
        length = self.lengths.get(part)
        known = length or 0
        if offset > known:
            raise FrameMissing(f"a frame at {offset} follows a text of {known}")
        new = utf16_tail(text, known - offset) if known > offset else text
        if length is None or new:
            self.lengths[part] = max(known, offset + utf16_length(text))
            yield PartDelta(part, kind, info or {}, new, opens=length is None)

    def _check_parts(self, parts: Any) -> None:
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and part.get("length", 0) > self.lengths.get(str(part.get("part")), 0):
                raise FrameMissing("the stop follows text that was not given")


def _end(fields: Mapping[str, Any]) -> ResponseEnd:
    usage, error = fields.get("usage"), fields.get("error")
    return ResponseEnd(
        status=str(fields.get("status") or "complete"),
        reason=str(fields.get("reason") or "stop"),
        usage=usage if isinstance(usage, dict) else None,
        error=error if isinstance(error, dict) else None,
    )
