"""Applies an event of OpenAI's Responses API to its response.

Texts are keyed by `output_index` and `content_index` or `summary_index`, never by `item_id`, because item ids change
in mid-stream.
"""

from typing import Any, Final, NamedTuple

from topics.openai_chat import UPSTREAM_ERROR, error_of, index_of
from topics.openai_parts import Draft
from topics.records import JsonObject

PREFIX: Final = "response."
ERROR: Final = "error"
_ITEM_ADDED: Final = "response.output_item.added"
_ITEM_DONE: Final = "response.output_item.done"
_ARGUMENTS_DELTA: Final = "response.function_call_arguments.delta"
_ARGUMENTS_DONE: Final = "response.function_call_arguments.done"
_PARTS_DONE: Final = {
    "response.content_part.done": "content_index",
    "response.reasoning_summary_part.done": "summary_index",
}
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})


class _Text(NamedTuple):
    kind: str
    position: str
    """The field with its position in the output item."""
    field: str
    """The field with the text itself."""


_DELTAS: Final = {
    "response.output_text.delta": _Text("text", "content_index", "delta"),
    "response.reasoning_text.delta": _Text("reasoning", "content_index", "delta"),
    "response.reasoning_summary_text.delta": _Text("reasoning", "summary_index", "delta"),
    "response.refusal.delta": _Text("refusal", "content_index", "delta"),
}
_DONE: Final = {
    "response.output_text.done": _Text("text", "content_index", "text"),
    "response.reasoning_text.done": _Text("reasoning", "content_index", "text"),
    "response.reasoning_summary_text.done": _Text("reasoning", "summary_index", "text"),
    "response.refusal.done": _Text("refusal", "content_index", "refusal"),
}
_CONTENT: Final = {
    "output_text": ("text", "text"),
    "reasoning_text": ("reasoning", "text"),
    "summary_text": ("reasoning", "text"),
    "refusal": ("refusal", "refusal"),
}
"""By the type of a piece of content: its kind, and the field with its text."""
_MEANING: Final = frozenset(
    {*_DELTAS, *_DONE, *_PARTS_DONE, *_ENDS, _ITEM_ADDED, _ITEM_DONE, _ARGUMENTS_DELTA, _ARGUMENTS_DONE, ERROR}
)


def is_responses_event(fields: JsonObject) -> bool:
    """Whether the object is an event of the Responses API, not a chunk of Chat Completions."""
    kind = fields.get("type")
    return isinstance(kind, str) and (kind.startswith(PREFIX) or kind == ERROR) and "choices" not in fields


def means_anything(fields: JsonObject) -> bool:
    return fields.get("type") in _MEANING


def bears_text(fields: JsonObject) -> bool:
    """Returns True if the event has text that no earlier event had."""
    kind = fields.get("type")
    return (kind in _DELTAS or kind == _ARGUMENTS_DELTA) and _string(fields, "delta") != ""


def read_event(draft: Draft, fields: JsonObject) -> None:
    """Applies an event. Never raises, whatever the fields hold. Ignores events of other types."""
    kind = fields["type"]
    if (text := _DELTAS.get(kind)) is not None:
        _text(draft, text.kind, fields, text.position, _string(fields, text.field))
    elif (text := _DONE.get(kind)) is not None:
        _whole(
            draft,
            text.kind,
            _position(fields),
            text.position,
            _index(fields, text.position),
            _string(fields, text.field),
        )
    elif (index := _PARTS_DONE.get(kind)) is not None:
        _content(draft, _position(fields), index, _index(fields, index), fields.get("part"))
    elif kind in (_ITEM_ADDED, _ITEM_DONE):
        _item(draft, fields, done=kind == _ITEM_DONE)
    elif kind == _ARGUMENTS_DELTA:
        draft.call(0, _position(fields), arguments=_string(fields, "delta"), strict=True)
    elif kind == _ARGUMENTS_DONE:
        name, arguments = _string(fields, "name"), _string(fields, "arguments")
        draft.call(0, _position(fields), "", name, arguments, strict=True, whole=True)
    elif kind in _ENDS:
        _end(draft, kind, _object(fields, "response"))
    elif kind == ERROR:
        draft.end("error", error=error_of(fields.get("error")) or error_of({**fields, "type": ""}))


def _text(draft: Draft, kind: str, fields: JsonObject, index_name: str, text: str) -> None:
    output, index = _position(fields), _index(fields, index_name)
    draft.slot(_key(kind, output, index_name, index), kind, f"{kind}_{output}_{index}", text)


def _whole(draft: Draft, kind: str, output: int, index_name: str, index: int, text: str) -> None:
    """Adds a complete text, whose beginning deltas may have given."""
    draft.slot(_key(kind, output, index_name, index), kind, f"{kind}_{output}_{index}", text, whole=True)


def _content(draft: Draft, output: int, index_name: str, index: int, content: object) -> None:
    if not isinstance(content, dict):
        return
    found = _CONTENT.get(_string(content, "type"))
    if found is not None:
        kind, field = found
        _whole(draft, kind, output, index_name, index, _string(content, field))


def _item(draft: Draft, fields: JsonObject, *, done: bool) -> None:
    item, output = _object(fields, "item"), _position(fields)
    kind = item.get("type")
    if kind == "function_call":
        arguments = _string(item, "arguments") if done else ""
        given_id, name = _string(item, "call_id"), _string(item, "name")
        draft.call(0, output, given_id, name, arguments, strict=True, whole=True)
    elif done and kind in ("message", "reasoning"):
        for index, content in enumerate(_list(item, "summary")):
            _content(draft, output, "summary_index", index, content)
        for index, content in enumerate(_list(item, "content")):
            _content(draft, output, "content_index", index, content)


def _end(draft: Draft, kind: str, response: JsonObject) -> None:
    draft.take_usage(response.get("usage"))
    if kind == "response.completed":
        draft.end("tool_calls" if draft.calls else "stop")
    elif kind == "response.incomplete":
        why = _object(response, "incomplete_details").get("reason")
        draft.end("content_filter" if why == "content_filter" else "length")
    else:
        draft.end("error", error=error_of(response.get("error")) or {"code": UPSTREAM_ERROR, "message": ""})


def _key(kind: str, output: int, index_name: str, index: int) -> str:
    return f"{kind}/{output}/{index_name[0]}{index}"


def _position(fields: JsonObject) -> int:
    return _index(fields, "output_index")


def _index(fields: JsonObject, name: str) -> int:
    return index_of(fields, name) or 0


def _string(fields: JsonObject, name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _object(fields: JsonObject, name: str) -> JsonObject:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _list(fields: JsonObject, name: str) -> list[Any]:
    value = fields.get(name)
    return value if isinstance(value, list) else []
