"""Frames as readers receive them, and text lengths as JavaScript counts them.

Shares no code with the writer of frames, so that it can check it.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from topics.limits import MAX_SEQ

TEXT_PART = "text"
WHOLE_NUMBER = re.compile(r"[0-9]{1,16}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One realtime message, as a subscription or a history page gives it. `headers` are `extras.headers`."""

    name: str
    data: Any
    headers: Mapping[str, str]
    client_id: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class ReceivedFrame:
    name: Literal["start", "token", "part", "gap", "stop"]
    response_id: str
    seq: int
    seq_end: int
    offset: int
    part: str
    kind: str
    info: dict[str, Any] | None
    data: Any

    @property
    def has_text(self) -> bool:
        return self.name in ("token", "part")


class ReceivedPart:
    """A part's text so far. `length` is the position in the part, in UTF-16 units; it passes the text's own length
    only where a loss was given up.
    """

    __slots__ = ("_chunks", "info", "kind", "length", "part")

    def __init__(self, part: str, kind: str, info: dict[str, Any] | None = None) -> None:
        self.part, self.kind, self.info = part, kind, info
        self.length = 0
        self._chunks: list[str] = []

    @property
    def text(self) -> str:
        if len(self._chunks) > 1:
            self._chunks = [_joined(self._chunks)]
        return self._chunks[0] if self._chunks else ""

    def write(self, offset: int, text: str) -> str:
        """Appends the part of `text`, which starts at `offset`, that is beyond the position. Returns that part."""
        units = utf16_length(text)
        new = text if offset >= self.length else utf16_tail(text, self.length - offset)
        self.length = max(self.length, offset + units)
        if new:
            self._chunks.append(new)
        return new

    def replace(self, text: str, info: dict[str, Any] | None) -> None:
        self._chunks, self.length = [text], utf16_length(text)
        self.info = info if info is not None else self.info


def parse_frame(message: Message) -> ReceivedFrame | None:
    """Returns the frame of a message, or None if it has none."""
    headers, name = message.headers, message.name
    numbers = [headers.get("seq"), headers.get("seqEnd", headers.get("seq")), headers.get("offset", "0")]
    if name not in ("start", "token", "part", "gap", "stop") or not headers.get("responseId"):
        return None
    if not all(isinstance(number, str) and WHOLE_NUMBER.fullmatch(number) for number in numbers):
        return None
    seq, seq_end, offset = (int(number) for number in numbers if number is not None)
    part = TEXT_PART if name == "token" else headers.get("part", "")
    wrong_text = name in ("token", "part") and (not isinstance(message.data, str) or not part)
    if seq_end < seq or max(seq_end, offset) > MAX_SEQ or wrong_text:
        return None
    kind = TEXT_PART if name == "token" else headers.get("kind", part)
    info = _object(headers.get("partInfo")) if name == "part" else None
    return ReceivedFrame(name, headers["responseId"], seq, seq_end, offset, part, kind, info, message.data)  # type: ignore[arg-type]


def utf16_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def utf16_tail(text: str, units: int) -> str:
    """`text.slice(units)` of JavaScript: a pair cut in two leaves its lone half."""
    if text.isascii():
        return text[units:]
    return text.encode("utf-16-le", "surrogatepass")[2 * units :].decode("utf-16-le", "surrogatepass")


def sha256_of(text: str) -> str:
    """Hex SHA-256 of the UTF-8 bytes; a lone half counts as U+FFFD, as browsers encode it."""
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return hashlib.sha256(whole.encode()).hexdigest()


def _joined(chunks: list[str]) -> str:
    """Chunks as one text; halves of a pair that meet at a seam become the pair, as in JavaScript."""
    text = "".join(chunks)
    if any(chunk and "\udc00" <= chunk[0] <= "\udfff" for chunk in chunks):
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return text


def _object(encoded: str | None) -> dict[str, Any] | None:
    try:
        value = orjson.loads(encoded or "null")
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def digests(stop: Any) -> dict[str, tuple[int, str]] | None:
    parts = stop.get("parts") if isinstance(stop, dict) else None
    if not isinstance(parts, list):
        return None
    return {part["part"]: (part["length"], part["sha256"]) for part in parts if _is_digest(part)}


def _is_digest(part: Any) -> bool:
    wanted = {"part": str, "length": int, "sha256": str}
    return isinstance(part, dict) and all(isinstance(part.get(key), kind) for key, kind in wanted.items())
