"""The description of `/v1`, as OpenAPI 3.1. A test drives the server by it, so it can't drift from what is answered."""

from typing import Any

from topics.controls import MAX_CONTROL_REASON
from topics.records import Status

Schema = dict[str, Any]

STATUSES = [str(status) for status in Status]


def _object(properties: Schema, required: list[str], **more: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": required, **more}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_TIME = {"type": "integer", "minimum": 0, "description": "milliseconds since the epoch"}
_ANY_OBJECT = {"type": "object"}
_PART = _object(
    {
        "part": {"type": "string"},
        "kind": {"type": "string"},
        "info": _ANY_OBJECT,
        "text": {"type": "string"},
        "length": {"type": "integer", "minimum": 0, "description": "UTF-16 code units of `text`"},
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "of the UTF-8 bytes of `text`"},
    },
    ["part", "kind", "text", "length", "sha256"],
)
_RECORD_FIELDS: Schema = {
    "v": {"const": 1},
    "responseId": {"type": "string"},
    "channel": {"type": "string"},
    "status": {"enum": STATUSES},
    "reason": _nullable({"type": "string"}),
    "error": _nullable(_ANY_OBJECT),
    "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Part"}},
    "text": {"type": "string", "description": "the part `text`: the answer itself"},
    "seq": {"type": "integer", "description": "the last sequence number covered"},
    "tokens": {"type": "integer", "minimum": 0},
    "gaps": {
        "type": "array",
        "items": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
        "description": "ranges of sequence numbers that never came, inclusive",
    },
    "metadata": _nullable(_ANY_OBJECT),
    "usage": _nullable(_ANY_OBJECT),
    "startedAt": _TIME,
    "firstTokenAt": _nullable(_TIME),
    "updatedAt": _TIME,
    "finishedAt": _nullable(_TIME),
    "relay": {"type": "object", "description": "the relay's own; readers ignore it"},
}
_NEXT = {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "`before` of the next page; null at the end"}


def _page(item: Schema) -> Schema:
    more_open = {
        "const": True,
        "description": "In hydration, when `next` leads to more open responses. Finished ones in this page ended meanwhile; "
        "they do not count towards `limit`.",
    }
    return _object({"items": {"type": "array", "items": item}, "next": _NEXT, "moreOpen": more_open}, ["items", "next"])


_SCHEMAS: Schema = {
    "Part": _PART,
    "Response": _object(_RECORD_FIELDS, [name for name in _RECORD_FIELDS if name != "relay"]),
    "EndedResponse": {
        "type": "object",
        "properties": _RECORD_FIELDS,
        "required": ["responseId", "channel", "status"],
        "description": "a Response; without its text if the credential may cancel it and not read it",
    },
    "PartialResponse": {
        "type": "object",
        "properties": _RECORD_FIELDS,
        "description": "a Response, or what `fields` left of it",
    },
    "Error": _object(
        {"error": _object({"code": {"type": "string"}, "message": {"type": "string"}}, ["code", "message"])}, ["error"]
    ),
}


def _json(description: str, schema: Schema, **more: Any) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}, **more}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _errors(**statuses: str) -> Schema:
    told = {
        "400": "the request is malformed",
        "401": "no credential, or none this server knows",
        "403": "the credential does not grant the operation on the channel",
        "429": "the credential asks for too many",
        "503": "the store or Kafka does not answer, or the server is busy: try again",
        "504": "the answer took too long",
    } | {name.removeprefix("_"): text for name, text in statuses.items()}
    return {status: _json(text, _ref("Error")) for status, text in told.items()}


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
            "summary": "A response as it is stored; an open one at most a snapshot's interval old",
            "parameters": [_MATCH],
            "responses": {
                "200": _json("the response", _ref("Response"), headers=headers),
                "304": {"description": "it is what the ETag stands for"},
                **_errors(_404=_NO_RESPONSE),
            },
        },
        "delete": {
            "operationId": "deleteResponse",
            "summary": "Remove a finished response for good, from the log and from the store",
            "security": [{"bearer": []}],
            "responses": {
                "204": {"description": "deleted"},
                **_errors(_404=_NO_RESPONSE, _409="the response has not finished"),
            },
        },
    }


def _cancel_path() -> Schema:
    body = {
        "type": "object",
        "properties": {
            "channel": {"type": ["string", "null"], "description": "needed until the first snapshot of the response"},
            "reason": {"type": ["string", "null"], "maxLength": MAX_CONTROL_REASON, "description": "for the producer"},
        },
    }
    requested = _object({"responseId": {"type": "string"}, "state": {"const": "requested"}}, ["responseId", "state"])
    return {
        "parameters": [_RESPONSE_ID],
        "post": {
            "operationId": "cancelResponse",
            "summary": "Ask the producer of a response to end it, also before its start. May be repeated",
            "security": [{"bearer": []}],
            "requestBody": {"required": False, "content": {"application/json": {"schema": body}}},
            "responses": {
                "200": _json("it has ended, and nothing happens: the response", _ref("EndedResponse")),
                "202": _json("the cancel is written", requested),
                **_errors(_404="there is no such response in that channel, or none is known and no channel is given"),
            },
        },
    }


def _listing_path(channel: Schema, operation_id: str) -> Schema:
    status = {"type": "array", "items": {"enum": STATUSES}, "minItems": 1}
    fields = {"type": "array", "items": {"enum": list(_RECORD_FIELDS)}, "minItems": 1}
    return {
        "parameters": [channel],
        "get": {
            "operationId": operation_id,
            "summary": "A channel's responses, newest first; a page ends at 8 MiB",
            "parameters": [
                _query("limit", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}, "of items"),
                _query("before", {"type": "string", "minLength": 1}, "`next` of the page before"),
                _query("status", status, "only these, with commas between", style="form", explode=False),
                _query("fields", fields, "only these, with commas between", style="form", explode=False),
            ],
            "responses": {"200": _json("a page", _page(_ref("PartialResponse"))), **_errors()},
        },
    }


def _hydrate_path(channel: Schema, operation_id: str) -> Schema:
    limit = {"type": "integer", "minimum": 0, "maximum": 500, "default": 20}
    return {
        "parameters": [channel],
        "get": {
            "operationId": operation_id,
            "summary": "All open responses and the newest finished ones: what a reader loads after it subscribed. A page ends at 8 MiB",
            "parameters": [
                _query("limit", limit, "of finished responses"),
                _query("before", {"type": "string", "minLength": 1}, "`next` of the page before"),
            ],
            "responses": {"200": _json("newest first", _page(_ref("Response"))), **_errors()},
        },
    }


def describe(version: str) -> Schema:
    """The whole description; a new value at each call."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tokenstream",
            "version": version,
            "description": "Responses of language models: running and finished. Readers follow live ones on their channel.",
        },
        "security": [{"bearer": []}, {}],
        "paths": {
            "/v1/responses/{responseId}": _response_path(),
            "/v1/responses/{responseId}/cancel": _cancel_path(),
            "/v1/channels/{channel}/responses": _listing_path(_CHANNEL, "listResponses"),
            "/v1/channels/{channel}/hydrate": _hydrate_path(_CHANNEL, "hydrate"),
            "/v1/responses": _listing_path(_CHANNEL_QUERY, "listResponsesByQuery"),
            "/v1/hydrate": _hydrate_path(_CHANNEL_QUERY, "hydrateByQuery"),
        },
        "components": {
            "schemas": _SCHEMAS,
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
