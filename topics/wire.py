"""Declares every public type once: the JSON Schemas and the OpenAPI description are derived from these types.

`topics.codec` decodes a token record by one flat type, which is faster to read; a test checks that the two agree.
`extra_json_schema` restricts only the schema: it has what types cannot express and a decoder need not check.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct

from topics.controls import MAX_CONTROL_REASON
from topics.limits import (
    KIND_PATTERN,
    MAX_CHANNEL_BYTES,
    MAX_OBJECT_BYTES,
    MAX_OBJECT_DEPTH,
    MAX_PART_CHARACTERS,
    MAX_PARTS,
    MAX_RESPONSE_ID_BYTES,
    MAX_SEQ,
    MAX_TEXT_BYTES,
    MAX_TIME_MS,
)
from topics.records import STATUS_BY_REASON, TEXT_PART, EndReason, JsonObject, Part, ResponseRecord, Status

Schema: TypeAlias = dict[str, Any]

_CONTROL: Final = r"\u0000-\u001f\u007f-\u009f"
_OBJECT: Final = (
    f"at most {MAX_OBJECT_BYTES // 1024} KiB encoded, {MAX_OBJECT_DEPTH} levels deep; "
    "an integer beyond 64 bits becomes the nearest double, a number beyond a double null"
)


def _schema(description: str = "", **restricted: Any) -> Meta:
    return Meta(description=description or None, extra_json_schema=restricted or None)


_ResponseId = Annotated[
    str,
    _schema(
        f"at most {MAX_RESPONSE_ID_BYTES} bytes of UTF-8; unique to the response",
        minLength=1,
        maxLength=MAX_RESPONSE_ID_BYTES,
        pattern=rf"^(?!\.{{1,2}}$)[^{_CONTROL}]+$",
    ),
]
_Channel = Annotated[
    str,
    _schema(
        f"Ably channel name; at most {MAX_CHANNEL_BYTES:,} bytes of UTF-8",
        maxLength=MAX_CHANNEL_BYTES,
        pattern=rf"^[^\[:{_CONTROL}][^{_CONTROL}]*$",
    ),
]
_Kind = Annotated[str, _schema(pattern=f"^{KIND_PATTERN.pattern}$")]
_PartName = Annotated[str, _schema(minLength=1, maxLength=MAX_PART_CHARACTERS)]
_Seq = Annotated[int, _schema(minimum=1, maximum=MAX_SEQ)]
_Count = Annotated[int, _schema(minimum=0)]
_Time = Annotated[int, _schema("milliseconds since the epoch", minimum=0, maximum=MAX_TIME_MS)]
_EventTime = Annotated[
    int,
    _schema(
        "milliseconds since the epoch; without it Kafka's timestamp counts",
        minimum=0,
        maximum=MAX_TIME_MS,
    ),
]
_WholeText = Annotated[str, _schema(pattern="^(0|[1-9][0-9]*)$")]
_IdText = Annotated[str, _schema(minLength=1)]


class StartEvent(Struct, frozen=True, kw_only=True, rename="camel", tag_field="event", tag="start"):
    response_id: _ResponseId
    channel: _Channel
    v: Literal[1] = 1
    seq: Literal[0] | None = None
    ts: _EventTime | None = None
    metadata: Annotated[JsonObject, _schema(f"anything about the response, for readers; {_OBJECT}")] | None = None


class TokenEvent(Struct, frozen=True, kw_only=True, rename="camel", tag_field="event", tag="token"):
    response_id: _ResponseId
    text: Annotated[str, _schema(f"at most {MAX_TEXT_BYTES // 1024} KiB of UTF-8; may be empty")]
    v: Literal[1] = 1
    seq: _Seq | None = None
    ts: _EventTime | None = None
    kind: _Kind | None = TEXT_PART
    part: Annotated[_PartName | None, _schema("default: the kind")] = None
    part_info: Annotated[JsonObject, _schema(f"about the part; counts on its first token; {_OBJECT}")] | None = None


class StopEvent(Struct, frozen=True, kw_only=True, rename="camel", tag_field="event", tag="stop"):
    response_id: _ResponseId
    v: Literal[1] = 1
    seq: _Seq | None = None
    ts: _EventTime | None = None
    reason: Annotated[str, _schema(enum=[str(reason) for reason in STATUS_BY_REASON])] | None = str(EndReason.STOP)
    usage: Annotated[JsonObject, _schema(f"what the response cost; {_OBJECT}")] | None = None
    error: Annotated[Any, _schema(f"with reason `error`, an object: code and message; {_OBJECT}")] = None


_ControlReason = Annotated[
    str,
    _schema("of a cancel, whatever its sender gave; of unwanted, why the relay ended it", maxLength=MAX_CONTROL_REASON),
]
_ControlTime = Annotated[
    int,
    _schema(
        "when it was asked for, in milliseconds since the epoch; without it Kafka's timestamp counts",
        minimum=0,
        maximum=MAX_TIME_MS,
    ),
]


class CancelControl(Struct, frozen=True, kw_only=True, rename="camel", tag_field="event", tag="cancel"):
    """Somebody asks that the response ends. It counts only for a response that was started in this channel."""

    response_id: _ResponseId
    channel: _Channel
    v: Literal[1] = 1
    ts: _ControlTime | None = None
    reason: _ControlReason | None = None


class UnwantedControl(Struct, frozen=True, kw_only=True, rename="camel", tag_field="event", tag="unwanted"):
    """The relay ended the response, and nobody can get more of it."""

    response_id: _ResponseId
    channel: _Channel | None = None
    v: Literal[1] = 1
    ts: _ControlTime | None = None
    reason: _ControlReason | None = None


class WrittenPart(Part, frozen=True, kw_only=True, omit_defaults=True):
    """A part as a record of the `responses` topic holds it."""

    part: _PartName
    kind: _Kind
    length: Annotated[int, _schema("UTF-16 code units of `text`", minimum=0)]


class WrittenResponse(ResponseRecord, frozen=True, kw_only=True, rename="camel"):
    """A response record as the relay writes it: with every field."""

    v: Annotated[int, _schema(const=1)] = 1
    response_id: _ResponseId
    channel: _Channel
    parts: Annotated[tuple[WrittenPart, ...], _schema(maxItems=MAX_PARTS)]
    seq: Annotated[int, _schema("the last sequence number covered", minimum=0)]
    tokens: _Count
    gaps: Annotated[
        tuple[tuple[_Count, _Count], ...],
        _schema("ranges of sequence numbers that never came, inclusive"),
    ]
    started_at: _Time
    first_token_at: _Time | None
    updated_at: _Time
    finished_at: _Time | None
    relay: Annotated[JsonObject, _schema("the relay's own; readers ignore it")]


class StartHeaders(Struct, frozen=True, kw_only=True, rename="camel"):
    response_id: _IdText
    seq: _WholeText


class GapHeaders(StartHeaders, frozen=True, kw_only=True, rename="camel"):
    seq_end: _WholeText


class TokenHeaders(GapHeaders, frozen=True, kw_only=True, rename="camel"):
    offset: _WholeText


class PartHeaders(TokenHeaders, frozen=True, kw_only=True, rename="camel"):
    part: _PartName
    kind: _Kind
    part_info: Annotated[str, _schema("JSON", contentMediaType="application/json")] | msgspec.UnsetType = UNSET


class StopHeaders(StartHeaders, frozen=True, kw_only=True, rename="camel"):
    pass


class StartFrame(Struct, frozen=True, tag_field="name", tag="start"):
    headers: StartHeaders


class TokenFrame(Struct, frozen=True, tag_field="name", tag="token"):
    headers: TokenHeaders


class PartFrame(Struct, frozen=True, tag_field="name", tag="part"):
    headers: PartHeaders


class GapFrame(Struct, frozen=True, tag_field="name", tag="gap"):
    headers: GapHeaders


class StopFrame(Struct, frozen=True, tag_field="name", tag="stop"):
    headers: StopHeaders


def _when(name: str, value: str, then: Schema, otherwise: Schema | None = None) -> Schema:
    rule = {"if": {"required": [name], "properties": {name: {"const": value}}}, "then": {"properties": then}}
    return rule if otherwise is None else {**rule, "else": {"properties": otherwise}}


_RULES: Final[dict[type[Struct], Schema]] = {
    TokenEvent: _when("part", TEXT_PART, {"kind": {"enum": [TEXT_PART, None]}}),
    StopEvent: _when("reason", str(EndReason.ERROR), {"error": {"type": ["object", "null"]}}),
    WrittenResponse: _when(
        "status", Status.STREAMING, {"finishedAt": {"type": "null"}}, {"finishedAt": {"type": "integer"}}
    ),
}
"""What one field of a type demands of another."""
_RECORD = Annotated[
    StartEvent | TokenEvent | StopEvent,
    Meta(
        title="Token record, version 1",
        description="Value of a record in the tokens topic. Unknown fields are ignored.",
    ),
]
_RESPONSE = Annotated[
    WrittenResponse,
    Meta(
        title="Response record, version 1",
        description="Value of a record in the responses topic, and what a store keeps. Unknown fields are ignored.",
    ),
]
_CONTROL_RECORD = Annotated[
    CancelControl | UnwantedControl,
    Meta(
        title="Control record, version 1",
        description="Value of a record in the controls topic; its key is the responseId. Unknown fields are ignored.",
    ),
]
_FRAME = Annotated[
    StartFrame | TokenFrame | PartFrame | GapFrame | StopFrame,
    Meta(
        title="Frame headers, version 1",
        description="extras.headers of an Ably message, by its name; every value is a string. Unknown headers are ignored.",
    ),
]


def json_schemas() -> dict[str, Schema]:
    """Returns the JSON Schemas of the public formats, by the name of their file in `topics/schemas`."""
    types = {
        "token-record": _RECORD,
        "response-record": _RESPONSE,
        "frame-headers": _FRAME,
        "control-record": _CONTROL_RECORD,
    }
    return {name: _whole(kind) for name, kind in types.items()}


def _whole(kind: Any) -> Schema:
    (schema,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    require_what_is_written(components, (WrittenPart, WrittenResponse))
    for struct, rule in _RULES.items():
        if struct.__name__ in components:
            components[struct.__name__] |= rule
    schema.pop("discriminator", None)  # OpenAPI's keyword, not JSON Schema's
    if "$ref" in schema:
        schema = components.pop(schema.pop("$ref").rpartition("/")[2]) | schema
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "$defs": components}


def require_what_is_written(components: Schema, types: Iterable[type[Struct]]) -> None:
    """Changes the schemas of `types` from what a decoder takes to what an encoder writes: every field it never omits is required."""
    for kind in types:
        if kind.__name__ not in components:
            continue
        schema = components[kind.__name__]
        omits = kind.__struct_config__.omit_defaults
        schema["required"] = [
            field.encode_name
            for field in msgspec.structs.fields(kind)
            if field.required or (field.default is not UNSET and not omits)
        ]
        for field in schema["properties"].values():
            field.pop("default", None)
