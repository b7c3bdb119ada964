"""The description of `/v1` as OpenAPI 3.1: schemas derived from the types that are written, with the paths.

A test drives the server by the description, so that the two cannot differ.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from processor.api.responses import MAX_LIMIT
from topics.controls import MAX_CONTROL_REASON
from topics.records import JsonObject, Status
from topics.wire import Schema, WrittenPart, WrittenResponse, require_what_is_written

STATUSES: Final = [str(status) for status in Status]

# Made by a call: they are named as clients know them, and used for nothing but their schema.
_SHA256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="of the UTF-8 bytes of `text`")]
_PART = msgspec.defstruct("Part", [("sha256", _SHA256)], bases=(WrittenPart,), kw_only=True)
_RESPONSE = msgspec.defstruct(
    "Response",
    [
        ("parts", tuple[_PART, ...]),  # type: ignore[valid-type]
        ("text", Annotated[str, Meta(description="the part `text`: the answer itself")]),
        ("relay", Annotated[JsonObject | UnsetType, Meta(description="the relay's own; readers ignore it")], UNSET),
    ],
    bases=(WrittenResponse,),
    kw_only=True,
)
_FIELDS: Final = msgspec.structs.fields(_RESPONSE)
_PARTIAL = msgspec.defstruct(
    "PartialResponse",
    [(field.encode_name, field.type | UnsetType, UNSET) for field in _FIELDS],
    namespace={"__doc__": "A Response, or what `fields` left of it."},
)
_ENDED = msgspec.defstruct(
    "EndedResponse",
    [
        (
            field.encode_name,
            field.type if field.encode_name in ("responseId", "channel", "status") else field.type | UnsetType,
            *(() if field.encode_name in ("responseId", "channel", "status") else (UNSET,)),
        )
        for field in _FIELDS
    ],
    kw_only=True,
    namespace={"__doc__": "A Response; without its text if the credential may cancel it and not read it."},
)
_Next = Annotated[str | None, Meta(description="`before` of the next page; null at the end")]
_MoreOpen = Annotated[
    bool | UnsetType,
    Meta(
        extra_json_schema={"const": True},
        description="In hydration, when `next` leads to more open responses. Finished ones in this page ended meanwhile; "
        "they do not count towards `limit`.",
    ),
]


class ResponsePage(Struct, rename="camel"):
    items: list[_RESPONSE]  # type: ignore[valid-type]
    next: _Next
    more_open: _MoreOpen = UNSET


class ListingPage(Struct, rename="camel"):
    items: list[_PARTIAL]  # type: ignore[valid-type]
    next: _Next


class ErrorDetail(Struct):
    code: str
    message: str


class Error(Struct):
    error: ErrorDetail


class CancelRequest(Struct):
    channel: Annotated[str | None, Meta(description="needed until the first snapshot of the response")] = None
    reason: Annotated[str, Meta(max_length=MAX_CONTROL_REASON, description="for the producer")] | None = None


class CancelRequested(Struct, rename="camel"):
    response_id: str
    state: Literal["requested"]


def _ref(kind: type[Struct]) -> Schema:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _json(description: str, kind: type[Struct], **more: Any) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": _ref(kind)}}, **more}


def _errors(**statuses: str) -> Schema:
    descriptions = {
        "400": "the request is malformed",
        "401": "no credential, or none this server knows",
        "403": "the credential does not grant the operation on the channel",
        "429": "the credential asks for too many",
        "503": "the store or Kafka does not answer, or the server is busy: try again",
        "504": "the answer took too long",
    } | {name.removeprefix("_"): text for name, text in statuses.items()}
    return {status: _json(text, Error) for status, text in descriptions.items()}


def _in_path(name: str, description: str) -> Schema:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


def _query(name: str, schema: Schema, description: str, **more: Any) -> Schema:
    return {"name": name, "in": "query", "schema": schema, "description": description, **more}


_RESPONSE_ID = _in_path("responseId", "percent-encoded")
_CHANNEL = _in_path("channel", "the channel's name, percent-encoded: `/` as `%2F`")
_CHANNEL_QUERY = {**_CHANNEL, "in": "query", "description": "the channel's name, percent-encoded"}
_NO_RESPONSE = "there is no such response, or the credential does not grant its channel"
_MATCH = {"name": "If-None-Match", "in": "header", "schema": {"type": "string"}, "description": "an ETag given before"}


def _response_path() -> Schema:
    headers = {"ETag": {"schema": {"type": "string"}, "description": "given where the response has finished"}}
    return {
        "parameters": [_RESPONSE_ID],
        "get": {
            "operationId": "getResponse",
            "summary": "Return the stored response; an open one is at most a snapshot interval old",
            "parameters": [_MATCH],
            "responses": {
                "200": _json("the response", _RESPONSE, headers=headers),
                "304": {"description": "unchanged since the ETag"},
                **_errors(_404=_NO_RESPONSE),
            },
        },
        "delete": {
            "operationId": "deleteResponse",
            "summary": "Delete a finished response permanently, from the log and from the store",
            "security": [{"bearer": []}],
            "responses": {
                "204": {"description": "deleted"},
                **_errors(_404=_NO_RESPONSE, _409="the response has not finished"),
            },
        },
    }


def _cancel_path() -> Schema:
    return {
        "parameters": [_RESPONSE_ID],
        "post": {
            "operationId": "cancelResponse",
            "summary": "Ask the producer of a response to end it, even before its start. Idempotent",
            "security": [{"bearer": []}],
            "requestBody": {"required": False, "content": {"application/json": {"schema": _ref(CancelRequest)}}},
            "responses": {
                "200": _json("it has ended, and nothing happens: the response", _ENDED),
                "202": _json("the cancel is written", CancelRequested),
                **_errors(_404="there is no such response in that channel, or none is known and no channel is given"),
            },
        },
    }


def _listing_path(channel: Schema, operation_id: str) -> Schema:
    status = {"type": "array", "items": {"enum": STATUSES}, "minItems": 1}
    fields = {"type": "array", "items": {"enum": [field.encode_name for field in _FIELDS]}, "minItems": 1}
    return {
        "parameters": [channel],
        "get": {
            "operationId": operation_id,
            "summary": "Return a channel's responses, newest first; a page ends at 8 MiB",
            "parameters": [
                _query(
                    "limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 50}, "number of items"
                ),
                _query("before", {"type": "string", "minLength": 1}, "`next` of the previous page"),
                _query("status", status, "only these statuses, separated by commas", style="form", explode=False),
                _query("fields", fields, "only these fields, separated by commas", style="form", explode=False),
            ],
            "responses": {"200": _json("a page", ListingPage), **_errors()},
        },
    }


def _hydrate_path(channel: Schema, operation_id: str) -> Schema:
    limit = {"type": "integer", "minimum": 0, "maximum": MAX_LIMIT, "default": 20}
    return {
        "parameters": [channel],
        "get": {
            "operationId": operation_id,
            "summary": "Return all open responses and the newest finished ones, for a reader that has subscribed. A page ends at 8 MiB",
            "parameters": [
                _query("limit", limit, "number of finished responses"),
                _query("before", {"type": "string", "minLength": 1}, "`next` of the previous page"),
            ],
            "responses": {"200": _json("newest first", ResponsePage), **_errors()},
        },
    }


_STREAM_FORMATS: Final = ("tokenstream", "openai", "ui-message")
_MAX_STREAM_CHANNELS: Final = 100
_ACCESS_TOKEN: Final = _query(
    "access_token", {"type": "string"}, "the credential, for `EventSource`, which cannot send headers; it is in no log"
)
_LAST_EVENT_ID: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "schema": {"type": "string"},
    "description": "`id` of the last event received: the stream continues after it, or begins with snapshots",
}
_STREAM_LIMIT: Final = _query(
    "limit",
    {"type": "integer", "minimum": 0, "maximum": MAX_LIMIT, "default": 20},
    "number of finished responses that the stream of a channel begins with",
)


_NOT_OF_STREAMS: Final = frozenset({"429", "504"})


def _events_path(operation_id: str, summary: str, parameters: list[Schema], *queries: Schema, **more: Schema) -> Schema:
    content = {"text/event-stream": {"schema": {"type": "string"}}}
    refusals = {status: error for status, error in _errors().items() if status not in _NOT_OF_STREAMS}
    return {
        "parameters": parameters,
        "get": {
            "operationId": operation_id,
            "summary": summary,
            "parameters": [*queries, _ACCESS_TOKEN, _LAST_EVENT_ID],
            "responses": {"200": {"description": "server-sent events", "content": content}, **refusals, **more},
        },
    }


def _stream_paths() -> Schema:
    """What a gateway serves."""
    channels = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
    several = _query(
        "channel",
        {**channels, "maxItems": _MAX_STREAM_CHANNELS},
        "once for each channel, percent-encoded",
        required=True,
    )
    wanted = {"enum": list(_STREAM_FORMATS), "default": _STREAM_FORMATS[0]}
    return {
        "/v1/channels/{channel}/events": _events_path(
            "streamChannel", "Stream all responses of a channel", [_CHANNEL], _STREAM_LIMIT
        ),
        "/v1/events": _events_path(
            "streamChannels",
            f"Stream all responses of up to {_MAX_STREAM_CHANNELS} channels in one connection: browsers open only six to a host over HTTP/1.1",
            [],
            several,
            _STREAM_LIMIT,
        ),
        "/v1/responses/{responseId}/events": _events_path(
            "streamResponse",
            "Stream one response from its beginning to its end, and close",
            [_RESPONSE_ID],
            _query(
                "format",
                wanted,
                "`openai`: `chat.completion.chunk` and `[DONE]`; `ui-message`: the AI SDK's UI message stream",
            ),
            **{
                "204": {"description": "it has finished and the reader has all of it: an `EventSource` stays closed"},
                "404": _json(_NO_RESPONSE, Error),
            },
        ),
    }


def _api_paths() -> Schema:
    """What an api serves."""
    return {
        "/v1/responses/{responseId}": _response_path(),
        "/v1/responses/{responseId}/cancel": _cancel_path(),
        "/v1/channels/{channel}/responses": _listing_path(_CHANNEL, "listResponses"),
        "/v1/channels/{channel}/hydrate": _hydrate_path(_CHANNEL, "hydrate"),
        "/v1/responses": _listing_path(_CHANNEL_QUERY, "listResponsesByQuery"),
        "/v1/hydrate": _hydrate_path(_CHANNEL_QUERY, "hydrateByQuery"),
    }


def _schemas(*, api: bool) -> Schema:
    """`api`: also those of the api's answers. A gateway answers with JSON only where it refuses."""
    of_api = [ResponsePage, ListingPage, CancelRequest, CancelRequested, _ENDED] if api else []
    _, components = msgspec.json.schema_components([*of_api, Error], ref_template="#/components/schemas/{name}")
    if api:
        require_what_is_written(components, (_PART, _RESPONSE))
    return components


def describe(version: str, *, api: bool = True, streams: bool = False) -> Schema:
    """The whole description; a new value at each call. `api`, `streams`: whether the server is an api, a gateway, or both."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tokenstream",
            "version": version,
            "description": "Responses of language models: running and finished. Readers follow live ones on their channel.",
        },
        "security": [{"bearer": []}, {}],
        "paths": {**(_api_paths() if api else {}), **(_stream_paths() if streams else {})},
        "components": {
            "schemas": _schemas(api=api),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An entry of API_TOKENS, or an Ably JWT whose capability for the channel includes `history` "
                    "(to cancel: `publish`; to delete: `message-delete-any`). Reading needs none on loopback, nor with API_PUBLIC.",
                }
            },
        },
    }
