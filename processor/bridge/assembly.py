"""Assembles a whole completion from the chunks of its stream, for callers that did not request a stream."""

from typing import Any, Final

from topics.errors import TokenstreamError
from topics.records import JsonObject

MAX_COMPLETION_BYTES: Final = 32 * 1024 * 1024
"""Of the chunks that make one completion."""
MAX_LOOKED_AT: Final = 128
"""Tool calls, the newest, that a delta may belong to: the time is linear in the size of the stream."""
_NOT_MERGED: Final = frozenset({"delta", "index", "logprobs", "message"})
"""Of a choice. Some servers repeat the whole `message` beside each delta, or send it as null."""
_OBJECTS: Final = {"chat.completion.chunk": "chat.completion"}
_JOINED: Final = frozenset(
    {"content", "reasoning", "reasoning_content", "refusal", "arguments", "text", "thinking", "data", "transcript"}
)
"""Names whose strings are pieces of a text. Of any other name the last value counts."""
_FIRST: Final = frozenset({"id", "role", "type", "name", "created", "object"})
"""Names of which the first value counts."""


class CompletionTooLarge(TokenstreamError):
    """The stream is over `MAX_COMPLETION_BYTES`."""


class Assembly:
    """Collects chunks of Chat Completions or of Completions, of any number of choices."""

    __slots__ = ("_choices", "_fields", "_max_bytes", "_size")

    def __init__(self, max_bytes: int = MAX_COMPLETION_BYTES) -> None:
        self._max_bytes = max_bytes
        self._size = 0
        self._fields: JsonObject = {}
        self._choices: dict[int, JsonObject] = {}

    def add(self, chunk: JsonObject, size: int) -> None:
        """Adds a chunk of `size` bytes. Raises CompletionTooLarge."""
        self._size += size
        if self._size > self._max_bytes:
            raise CompletionTooLarge(
                f"The completion is over {self._max_bytes} bytes. Ask for a stream, or for fewer tokens."
            )
        _merge(self._fields, {name: value for name, value in chunk.items() if name != "choices"})
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                index = choice.get("index")
                self._add_choice(index if type(index) is int and index >= 0 else 0, choice)

    @property
    def completion(self) -> JsonObject:
        """What the model server would have answered without a stream."""
        made = dict(self._fields)
        if "object" in made:
            made["object"] = _OBJECTS.get(str(made["object"]), made["object"])
        made["choices"] = [_joined(self._choices[index]) for index in sorted(self._choices)]
        return made

    def _add_choice(self, index: int, choice: JsonObject) -> None:
        kept = self._choices.setdefault(index, {"index": index, "finish_reason": None})
        delta = choice.get("delta")
        _merge(kept, {name: value for name, value in choice.items() if name not in _NOT_MERGED})
        if isinstance(choice.get("logprobs"), dict):
            _merge_lists(kept.setdefault("logprobs", {}), choice["logprobs"])
        if isinstance(delta, dict):
            message = kept.setdefault("message", {"role": "assistant", "content": None})
            _merge(message, {name: value for name, value in delta.items() if name != "tool_calls"})
            calls = delta.get("tool_calls")
            for call in calls if isinstance(calls, list) else ():
                if isinstance(call, dict):
                    _merge(_call_of(message.setdefault("tool_calls", []), call), call)


def _call_of(calls: list[JsonObject], delta: JsonObject) -> JsonObject:
    """The call a delta belongs to. A new id opens one; else the index decides; else the newest is meant."""
    given_id, index = delta.get("id"), delta.get("index")
    for call in reversed(calls[-MAX_LOOKED_AT:]):
        if given_id and call.get("id") and call["id"] != given_id:
            continue
        if given_id and call.get("id") == given_id:
            return call
        if index is None or call.get("index") == index:
            return call
    calls.append({"index": len(calls) if index is None else index})
    return calls[-1]


def _merge(kept: JsonObject, given: JsonObject) -> None:
    """Adds what a chunk gives to what was kept. Pieces of texts are collected in lists, which `_joined` joins."""
    for name, value in given.items():
        before = kept.get(name)
        if value is None:
            kept.setdefault(name, None)
        elif isinstance(value, str) and name in _JOINED:
            if isinstance(before, _Pieces):
                before.append(value)
            elif isinstance(before, list):
                _add_text(before, value)
            else:
                kept[name] = _Pieces([value])
        elif isinstance(value, list) and isinstance(before, _Pieces):
            kept[name] = [{"type": "text", "text": before}, *value] if any(before) else list(value)
        elif name in _FIRST and before:
            continue
        elif isinstance(value, dict) and isinstance(before, dict) and name not in ("usage", "error"):
            _merge(before, value)
        elif isinstance(value, dict):
            kept[name] = {}
            _merge(kept[name], value)
        elif isinstance(value, list) and isinstance(before, list):
            before += value
        elif isinstance(value, list):
            kept[name] = list(value)
        else:
            kept[name] = value


def _add_text(items: list[Any], text: str) -> None:
    """Some servers send a list of items for the reasoning, and the answer as a string."""
    if not text:
        return
    last = items[-1] if items else None
    if isinstance(last, dict) and last.get("type") == "text" and isinstance(last.get("text"), _Pieces):
        last["text"].append(text)
    else:
        items.append({"type": "text", "text": _Pieces([text])})


def _merge_lists(kept: JsonObject, given: JsonObject) -> None:
    for name, value in given.items():
        if isinstance(value, list) and isinstance(kept.get(name), list):
            kept[name] += value
        elif value is not None or name not in kept:
            kept[name] = list(value) if isinstance(value, list) else value


class _Pieces(list[str]):
    """A text in pieces."""


def _joined(value: Any) -> Any:
    if isinstance(value, _Pieces):
        return "".join(value)
    if isinstance(value, dict):
        return {name: _joined(each) for name, each in value.items() if name != "index" or "function" not in value}
    if isinstance(value, list):
        return [_joined(each) for each in value]
    return value
