"""One response as `chat.completion.chunk` objects, as OpenAI-compatible servers send them.

Parts become choices and fields: a prefix `<index>.` of a part's name is the choice; kind `text` is `content`,
`reasoning` is `reasoning_content`, `refusal` is `refusal`, and each part of kind `tool_call` is one tool call. This
format has no place for parts of other kinds, which are left out.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from processor.gateway.deltas import Deltas, PartDelta, ResponseEnd
from processor.reader.frames import ReceivedFrame

_CHOICE = re.compile(r"([1-9][0-9]{0,2})\.(.+)", re.ASCII)
_FIELDS = {"text": "content", "reasoning": "reasoning_content", "refusal": "refusal"}


class OpenAiStream:
    """Gives chunks for records and frames. `ended` once the last chunk was given."""

    def __init__(self, response_id: str) -> None:
        self._id = response_id
        self._deltas = Deltas()
        self._model = ""
        self._created = 0
        self._choices: set[int] = set()
        self._calls: dict[str, int] = {}
        self._calls_of: dict[int, int] = {}

    @property
    def ended(self) -> bool:
        return self._deltas.end is not None

    def of_record(self, record: Mapping[str, Any]) -> list[object]:
        self._begin(record.get("metadata"), int(record.get("startedAt") or 0) // 1000)
        return self._given(self._deltas.of_record(record))

    def of_frame(self, frame: ReceivedFrame) -> list[object]:
        if frame.name == "start":
            self._begin(frame.data, self._created)
        return self._given(self._deltas.of_frame(frame))

    def _begin(self, metadata: Any, created: int) -> None:
        described = metadata if isinstance(metadata, dict) else {}
        model, at = described.get("model"), described.get("created")
        self._model = model if isinstance(model, str) else self._model
        self._created = at if isinstance(at, int) else created

    def _given(self, deltas: list[PartDelta]) -> list[object]:
        chunks = [chunk for delta in deltas for chunk in self._chunks(delta)]
        if self._deltas.end is not None:
            chunks += self._closing(self._deltas.end)
        return chunks

    def _chunks(self, delta: PartDelta) -> Iterable[object]:
        match = _CHOICE.fullmatch(delta.part)
        choice, part = (int(match[1]), match[2]) if match else (0, delta.part)
        content = self._tool_call(delta, choice, part) if delta.kind == "tool_call" else self._text(delta)
        if content is None:
            return
        if choice not in self._choices:
            self._choices.add(choice)
            yield self._chunk(choice, {"role": "assistant", "content": ""})
        yield self._chunk(choice, content)

    def _text(self, delta: PartDelta) -> dict[str, object] | None:
        name = _FIELDS.get(delta.kind)
        return {name: delta.text} if name and delta.text else None

    def _tool_call(self, delta: PartDelta, choice: int, part: str) -> dict[str, object] | None:
        if delta.opens:
            index = self._calls_of.get(choice, 0)
            self._calls_of[choice] = index + 1
            self._calls[delta.part] = index
            function = {"name": str(delta.info.get("name") or ""), "arguments": delta.text}
            identity = str(delta.info.get("id") or part)
            return {"tool_calls": [{"index": index, "id": identity, "type": "function", "function": function}]}
        return {"tool_calls": [{"index": self._calls[delta.part], "function": {"arguments": delta.text}}]}

    def _closing(self, end: ResponseEnd) -> Iterable[object]:
        if end.status in ("failed", "abandoned"):
            error = end.error or {}
            code = str(error.get("code") or end.reason)
            message = str(error.get("message") or f"The response ended with reason {end.reason}.")
            yield {"error": {"message": message, "type": end.status, "code": code}}
            return
        for choice in sorted(self._choices or {0}):
            yield self._chunk(choice, {}, finish=end.reason)
        if end.usage:
            yield self._envelope([], usage=_usage(end.usage))

    def _chunk(self, choice: int, delta: Mapping[str, object], finish: str | None = None) -> object:
        return self._envelope([{"index": choice, "delta": delta, "finish_reason": finish}])

    def _envelope(self, choices: list[object], **more: object) -> object:
        return {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "choices": choices,
            **more,
        }


def _usage(usage: Mapping[str, Any]) -> Mapping[str, Any]:
    """Usage with OpenAI's names; what has them already is kept as it was sent."""
    given, made = _number(usage.get("inputTokens")), _number(usage.get("outputTokens"))
    if given is None and made is None:
        return usage
    counts = {"prompt_tokens": given or 0, "completion_tokens": made or 0, "total_tokens": (given or 0) + (made or 0)}
    return {**counts, **usage}


def _number(count: object) -> int | float | None:
    return count if isinstance(count, int | float) else None
