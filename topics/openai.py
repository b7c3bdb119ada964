"""Identifies records in OpenAI's format on the tokens topic, and the response that each belongs to.

One record is one chunk of the Chat Completions API, one event of the Responses API, or `[DONE]`.
`openai_stream` has the meaning of a chunk.
No function raises, for any bytes and headers, and the time is linear in the size of the value.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec
import orjson

from topics import openai_responses
from topics.json_text import MAX_NESTING, check_nesting, read_json
from topics.limits import Invalid, check_response_id
from topics.openai_chat import choices_of, error_of
from topics.records import JsonObject, Reason

Headers = Sequence[tuple[str, bytes | None]]

CONTENT_TYPE: Final = b"application/vnd.openai.chunk+json"
"""The value of the header `content-type` that makes a record OpenAI's, whatever its value is."""
RESPONSE_ID_HEADER: Final = "response-id"
CHANNEL_HEADER: Final = "channel"
_CONTENT_TYPE_HEADER: Final = "content-type"
_SSE_PREFIX: Final = b"data:"
_DONE: Final = b"[DONE]"
_SCHEMA_PREFIX: Final = 5
"""Bytes of Confluent's wire format before the JSON: a zero and the schema's id."""


class Format(StrEnum):
    """The format of the values of the tokens topic, if no header declares it. `auto` inspects each value."""

    AUTO = "auto"
    TOKENSTREAM = "tokenstream"
    OPENAI = "openai"


class Body(msgspec.Struct, frozen=True):
    """The value of a record in OpenAI's format. `[DONE]` has no fields."""

    fields: JsonObject
    done: bool = False


class Chunk(msgspec.Struct, frozen=True):
    """A record in OpenAI's format, and its response. `opens` is whether it may be that response's first record."""

    response_id: str
    body: Body
    opens: bool


def recognize(
    value: bytes | None, headers: Headers | None = (), tokens_format: Format = Format.AUTO
) -> Body | Invalid | None:
    """Returns the body of a record in OpenAI's format, or None for a record that is not.

    `Invalid` is only for records that a header or the format declares to be OpenAI's. With `auto`, what is not JSON
    is not OpenAI's.
    """
    content_type = header(headers, _CONTENT_TYPE_HEADER) or b""
    forced = tokens_format is Format.OPENAI or content_type.split(b";", 1)[0].strip().lower() == CONTENT_TYPE
    if not forced and tokens_format is Format.TOKENSTREAM:
        return None
    text = _without_prefixes(value or b"")
    if text == _DONE:
        return Body({}, done=True)
    found = _read(text)
    if forced:
        if not isinstance(found, dict | Invalid):
            return Invalid(Reason.INVALID, "the value is not an object; one record holds one chunk")
        return found if isinstance(found, Invalid) else Body(found)
    return Body(found) if isinstance(found, dict) and _looks_like_openai(found) else None


def identify(body: Body, key: bytes | None, headers: Headers | None = ()) -> Chunk | Invalid | None:
    """Returns the record with its response's id, or None for a record without a meaning that belongs to no response.

    The id is the header `response-id`, else the body's, else the key if there is no header `channel`.
    """
    means = _means_anything(body)
    given = header(headers, RESPONSE_ID_HEADER)
    if given:
        return _chunk(_decoded(given), body, f"header {RESPONSE_ID_HEADER}", opens=True)
    if own := _own_id(body.fields):
        return _chunk(own, body, "the chunk's id", opens=means)
    by_key = not header(headers, CHANNEL_HEADER) and not _needs_header(body.fields)
    if by_key and key:
        return _chunk(_decoded(key), body, "the key", opens=means)
    if not means:
        return None
    if by_key:
        return Invalid(
            Reason.NO_KEY, f"the record has no id, no key and no header {RESPONSE_ID_HEADER}; set the header"
        )
    return Invalid(Reason.INVALID, f"the record has no id of its response; set header {RESPONSE_ID_HEADER}")


def header(headers: Headers | None, name: str) -> bytes | None:
    """The last value of a header."""
    for each, value in reversed(headers or ()):
        if each == name:
            return value
    return None


def _without_prefixes(value: bytes) -> bytes:
    if value[:1] == b"\0":
        value = value[_SCHEMA_PREFIX:]
    value = value.strip()
    return value[len(_SSE_PREFIX) :].strip() if value.startswith(_SSE_PREFIX) else value


def _read(text: bytes) -> Any:
    """Returns the JSON value, or the reason why the text is not JSON."""
    if len(text) > MAX_NESTING and (deep := check_nesting(text)):
        return deep
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass  # it may hold half a surrogate pair
    try:
        return read_json(text)
    except RecursionError:
        return Invalid(Reason.TOO_LARGE, "the value is nested too deeply")
    except ValueError:
        return Invalid(Reason.NOT_JSON, "the value is neither JSON in UTF-8 nor [DONE]")


def _looks_like_openai(fields: JsonObject) -> bool:
    if fields.get("event") is not None or "v" in fields:
        return False
    name = fields.get("object")
    return (
        "choices" in fields
        or "error" in fields
        or (isinstance(name, str) and name.endswith(".chunk"))
        or openai_responses.is_responses_event(fields)
    )


def _means_anything(body: Body) -> bool:
    fields = body.fields
    if openai_responses.is_responses_event(fields):
        return _response_id(fields) != "" or openai_responses.means_anything(fields)
    return error_of(fields.get("error")) is not None or bool(choices_of(fields))


def _own_id(fields: JsonObject) -> str:
    if openai_responses.is_responses_event(fields):
        return _response_id(fields)
    given = fields.get("id")
    return given if isinstance(given, str) else ""


def _response_id(fields: JsonObject) -> str:
    response = fields.get("response")
    given = response.get("id") if isinstance(response, dict) else None
    return given if isinstance(given, str) else ""


def _needs_header(fields: JsonObject) -> bool:
    """Returns False for events of the Responses API, whose response is never identified by the key: their ids change,
    and most have none.
    """
    return openai_responses.is_responses_event(fields) and error_of(fields.get("error")) is None


def _decoded(text: bytes) -> str | None:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None


def _chunk(response_id: str | None, body: Body, source: str, *, opens: bool) -> Chunk | Invalid:
    if response_id is None:
        return Invalid(Reason.INVALID, f"{source} is not UTF-8 and so is no responseId")
    return check_response_id(response_id) or Chunk(response_id, body, opens)
