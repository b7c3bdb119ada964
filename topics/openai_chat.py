"""Applies a chunk of the Chat Completions API, or of the older Completions API, to its response."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from topics.limits import MAX_SEQ
from topics.openai_parts import FUNCTION_CALL_INDEX, Draft, prefix_of
from topics.records import TEXT_PART, JsonObject

UPSTREAM_ERROR: Final = "upstream_error"
_MAX_CODE, _MAX_MESSAGE = 256, 2048
"""Characters kept of an error: its object stays below its limit, however they are escaped."""

_REASONS: Final = {
    given: reason
    for reason, all_given in {
        "length": ("length", "model_length", "max_tokens", "repetition"),
        "tool_calls": ("tool_calls", "function_call"),
        "content_filter": ("content_filter", "safety"),
        "cancelled": ("abort", "cancelled"),
        "error": ("error",),
    }.items()
    for given in all_given
}
"""By the reason as sent, in small letters. Any other is `stop`."""


class Piece(NamedTuple):
    """Text of one part. The part's name is that of the first choice."""

    part: str
    kind: str
    text: str


def read_chat(draft: Draft, fields: JsonObject) -> None:
    """Applies a chunk. Never raises, whatever the fields hold. An error determines the end of the response; text
    beside it is kept.
    """
    for choice in choices_of(fields):
        _read_choice(draft, choice)
    _take_usage(draft, fields)
    if (error := error_of(fields.get("error"))) is not None:
        draft.end("error", error=error)
    elif draft.finished and draft.usage_seen:
        end_finished(draft)


def end_finished(draft: Draft) -> bool:
    """Ends the response with the reason of its first finished choice. Returns False if no choice finished."""
    first = draft.first_finished
    if first is None or first.reason is None:
        return False
    error = None
    if first.reason == "error":
        error = {"code": UPSTREAM_ERROR, "message": "The model service finished with reason error."}
    draft.end(first.reason, given=first.given, error=error)
    return True


def choices_of(fields: JsonObject) -> list[JsonObject]:
    """The choices with a delta, a text or a finish reason."""
    choices = fields.get("choices")
    if not isinstance(choices, list):
        return []
    return [choice for choice in choices if isinstance(choice, dict) and _has_content(choice)]


def bears_text(fields: JsonObject) -> bool:
    """Returns True if the chunk has text of any part."""
    for choice in choices_of(fields):
        if any(piece.text for piece in _pieces(choice)):
            return True
        delta = choice.get("delta")
        if isinstance(delta, dict) and any(_string(each, "arguments") for each in _functions(delta)):
            return True
    return False


def error_of(error: object) -> JsonObject | None:
    """Returns the error of a stop; None for null, an empty text, or a value that is neither object nor text."""
    if isinstance(error, dict):
        code, kind, message = error.get("code"), error.get("type"), error.get("message")
        found = str(code) if _is_code(code) else kind if isinstance(kind, str) and kind else UPSTREAM_ERROR
        return _error(found, message if isinstance(message, str) else "")
    if isinstance(error, str) and error:
        return _error(UPSTREAM_ERROR, error)
    return None


def index_of(fields: JsonObject, name: str) -> int | None:
    index = fields.get(name)
    return index if type(index) is int and 0 <= index <= MAX_SEQ else None


def _is_code(code: object) -> bool:
    return (isinstance(code, str) and code != "") or (type(code) is int and abs(code) <= MAX_SEQ)


def _error(code: str, message: str) -> JsonObject:
    return {"code": _kept(code, _MAX_CODE), "message": _kept(message, _MAX_MESSAGE)}


def _kept(text: str, characters: int) -> str:
    return text[:characters].encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _has_content(choice: JsonObject) -> bool:
    return (
        isinstance(choice.get("delta"), dict)
        or isinstance(choice.get("text"), str)
        or _string(choice, "finish_reason") != ""
    )


def _read_choice(draft: Draft, choice: JsonObject) -> None:
    index = index_of(choice, "index") or 0
    if not draft.see(index):
        draft.dropped += 1
        return
    prefix = prefix_of(index)
    for piece in _pieces(choice):
        draft.text(prefix + piece.part, piece.kind, piece.text)
    delta = choice.get("delta")
    if isinstance(delta, dict):
        _read_calls(draft, index, delta)
    if given := _string(choice, "finish_reason"):
        draft.finish(index, _REASONS.get(given.lower(), "stop"), given)


def _pieces(choice: JsonObject) -> Iterator[Piece]:
    """The texts of a choice, in the order in which they are shown: reasoning comes before the answer."""
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        yield Piece(TEXT_PART, TEXT_PART, _string(choice, "text"))
        return
    yield Piece("reasoning", "reasoning", _string(delta, "reasoning_content") or _string(delta, "reasoning"))
    content = delta.get("content")
    if isinstance(content, list):
        yield from _items(content)
    yield Piece(TEXT_PART, TEXT_PART, _string(delta, "content"))
    yield Piece("refusal", "refusal", _string(delta, "refusal"))
    audio = delta.get("audio")
    if isinstance(audio, dict):
        yield Piece("audio_transcript", "audio_transcript", _string(audio, "transcript"))


def _items(content: list[Any]) -> Iterator[Piece]:
    for item in content:
        if not isinstance(item, dict):
            continue
        if item.get("type") == "text":
            yield Piece(TEXT_PART, TEXT_PART, _string(item, "text"))
        elif item.get("type") == "thinking":
            thinking = item.get("thinking")
            thoughts = thinking if isinstance(thinking, list) else [{"text": thinking}]
            for thought in thoughts:
                if isinstance(thought, dict):
                    yield Piece("reasoning", "reasoning", _string(thought, "text"))


def _read_calls(draft: Draft, choice: int, delta: JsonObject) -> None:
    calls = delta.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if not isinstance(call, dict):
            continue
        function = _object(call, "function")
        draft.call(
            choice,
            index_of(call, "index"),
            _string(call, "id"),
            _string(function, "name"),
            _string(function, "arguments"),
        )
    if function := _object(delta, "function_call"):
        name, arguments = _string(function, "name"), _string(function, "arguments")
        draft.call(choice, FUNCTION_CALL_INDEX, "", name, arguments, strict=True)


def _functions(delta: JsonObject) -> Iterator[JsonObject]:
    calls = delta.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict):
            yield _object(call, "function")
    yield _object(delta, "function_call")


def _take_usage(draft: Draft, fields: JsonObject) -> None:
    """Returns the usage. It is at the top level; some providers put it into `x_groq` or into the choice that finishes."""
    places = [fields, _object(fields, "x_groq"), *reversed(choices_of(fields))]
    found = [place["usage"] for place in places if isinstance(place.get("usage"), dict)]
    if found:
        draft.take_usage(found[0])


def _string(fields: JsonObject, name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _object(fields: JsonObject, name: str) -> JsonObject:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}
