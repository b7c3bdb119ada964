"""The formats in which one response can be read, each from its beginning to its end."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Protocol

import orjson

from processor.gateway.events import LoggedFrame, event, snapshot_line
from processor.gateway.openai_stream import OpenAiStream
from processor.gateway.ui_stream import UiMessageStream
from processor.reader.frames import ReceivedFrame


class StreamFormat(StrEnum):
    TOKENSTREAM = "tokenstream"
    OPENAI = "openai"
    UI_MESSAGE = "ui-message"


class FormattedStream(Protocol):
    """Makes the bytes of one response's stream. Pure."""

    @property
    def ended(self) -> bool:
        """Whether everything was given: the stream is closed then."""
        ...

    @property
    def resumable(self) -> bool:
        """Whether its events have positions and names."""
        ...

    def of_record(self, record: Mapping[str, Any], encoded: bytes, position: str) -> bytes:
        """Returns what the record adds. `encoded` is the record as readers get it."""
        ...

    def of_frame(self, logged: LoggedFrame, frame: ReceivedFrame, position: str) -> bytes:
        """Returns what the frame adds. Raises FrameMissing where a record has to come first."""
        ...


class FrameStream:
    """The format `tokenstream`: a snapshot, and the frames after it."""

    resumable = True

    def __init__(self) -> None:
        self.ended = False

    def of_record(self, record: Mapping[str, Any], encoded: bytes, position: str) -> bytes:
        self.ended = record["status"] != "streaming"
        line = snapshot_line(record["channel"], record["responseId"], record["seq"], encoded)
        return event("snapshot", position, line)

    def of_frame(self, logged: LoggedFrame, frame: ReceivedFrame, position: str) -> bytes:
        self.ended = frame.name == "stop"
        return event(logged.name, position, logged.data)


class DeltaFormat(Protocol):
    """A format of deltas: what `OpenAiStream` and `UiMessageStream` have in common."""

    @property
    def ended(self) -> bool: ...
    def of_record(self, record: Mapping[str, Any]) -> list[object]: ...
    def of_frame(self, frame: ReceivedFrame) -> list[object]: ...


class DeltaStream:
    """A format of other programs: events without name and position, and `[DONE]` last."""

    resumable = False

    def __init__(self, chunks: DeltaFormat) -> None:
        self._chunks = chunks

    @property
    def ended(self) -> bool:
        return self._chunks.ended

    def of_record(self, record: Mapping[str, Any], encoded: bytes, position: str) -> bytes:
        del encoded, position
        return b"" if self.ended else self._written(self._chunks.of_record(record))

    def of_frame(self, logged: LoggedFrame, frame: ReceivedFrame, position: str) -> bytes:
        del logged, position
        return b"" if self.ended else self._written(self._chunks.of_frame(frame))

    def _written(self, chunks: list[object]) -> bytes:
        lines = [event(None, None, orjson.dumps(chunk)) for chunk in chunks]
        if self._chunks.ended:
            lines.append(event(None, None, b"[DONE]"))
        return b"".join(lines)


def new_stream(wanted: StreamFormat, response_id: str) -> FormattedStream:
    match wanted:
        case StreamFormat.TOKENSTREAM:
            return FrameStream()
        case StreamFormat.OPENAI:
            return DeltaStream(OpenAiStream(response_id))
        case StreamFormat.UI_MESSAGE:
            return DeltaStream(UiMessageStream(response_id))


def headers_of(wanted: StreamFormat) -> dict[str, str]:
    """The headers that a format needs beside those of every stream."""
    return {"x-vercel-ai-ui-message-stream": "v1"} if wanted is StreamFormat.UI_MESSAGE else {}
