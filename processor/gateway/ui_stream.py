"""One response as the AI SDK's UI message stream (protocol v1).

Parts of kind `text` and `refusal` are text parts, `reasoning` is a reasoning part, and `tool_call` is a tool's input.
Parts of other kinds are left out. A part ends with the response, because any part may continue until then.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from processor.gateway.deltas import Deltas, PartDelta, ResponseEnd
from processor.reader.frames import ReceivedFrame

_FINISH_REASONS = {"length": "length", "tool_calls": "tool-calls", "content_filter": "content-filter", "stop": "stop"}
_BLOCKS = {"text": "text", "refusal": "text", "reasoning": "reasoning"}


class UiMessageStream:
    """Gives chunks for records and frames. `ended` once the last chunk was given."""

    def __init__(self, response_id: str) -> None:
        self._id = response_id
        self._deltas = Deltas()
        self._started = False
        self._open: dict[str, str] = {}
        """The blocks that were begun, by part."""
        self._calls: dict[str, tuple[str, str, list[str]]] = {}
        """Id, tool and argument texts of the tool calls, by part."""

    @property
    def ended(self) -> bool:
        return self._deltas.end is not None

    def of_record(self, record: Mapping[str, Any]) -> list[object]:
        return [*self._start(record.get("metadata")), *self._given(self._deltas.of_record(record))]

    def of_frame(self, frame: ReceivedFrame) -> list[object]:
        deltas = self._deltas.of_frame(frame)
        return [*self._start(frame.data if frame.name == "start" else None), *self._given(deltas)]

    def _start(self, metadata: Any) -> list[object]:
        if self._started:
            return []
        self._started = True
        described = {"messageMetadata": metadata} if isinstance(metadata, dict) and metadata else {}
        return [{"type": "start", "messageId": self._id, **described}, {"type": "start-step"}]

    def _given(self, deltas: list[PartDelta]) -> list[object]:
        chunks = [chunk for delta in deltas for chunk in self._chunks(delta)]
        if self._deltas.end is not None:
            chunks += self._closing(self._deltas.end)
        return chunks

    def _chunks(self, delta: PartDelta) -> Iterable[object]:
        if delta.kind == "tool_call":
            yield from self._tool_input(delta)
            return
        block = _BLOCKS.get(delta.kind)
        if block is None:
            return
        if delta.opens:
            self._open[delta.part] = block
            yield {"type": f"{block}-start", "id": delta.part}
        if delta.text:
            yield {"type": f"{block}-delta", "id": delta.part, "delta": delta.text}

    def _tool_input(self, delta: PartDelta) -> Iterable[object]:
        if delta.opens:
            call, tool = str(delta.info.get("id") or delta.part), str(delta.info.get("name") or "tool")
            self._calls[delta.part] = (call, tool, [])
            yield {"type": "tool-input-start", "toolCallId": call, "toolName": tool}
        call, _, texts = self._calls[delta.part]
        if delta.text:
            texts.append(delta.text)
            yield {"type": "tool-input-delta", "toolCallId": call, "inputTextDelta": delta.text}

    def _closing(self, end: ResponseEnd) -> Iterable[object]:
        yield from ({"type": f"{block}-end", "id": part} for part, block in self._open.items())
        if end.status == "complete":
            yield from (_input(call, tool, "".join(texts)) for call, tool, texts in self._calls.values())
        metadata = {"reason": end.reason, **({"usage": end.usage} if end.usage else {})}
        match end.status:
            case "complete":
                yield {"type": "finish-step"}
                reason = _FINISH_REASONS.get(end.reason, "other")
                yield {"type": "finish", "finishReason": reason, "messageMetadata": metadata}
            case "cancelled":
                yield {"type": "abort"}
            case _:
                message = str((end.error or {}).get("message") or f"The response ended with reason {end.reason}.")
                yield {"type": "error", "errorText": message}


def _input(call: str, tool: str, text: str) -> object:
    try:
        given = orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        why = "The arguments are not valid JSON."
        return {"type": "tool-input-error", "toolCallId": call, "toolName": tool, "input": text, "errorText": why}
    return {"type": "tool-input-available", "toolCallId": call, "toolName": tool, "input": given}
