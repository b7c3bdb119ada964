"""Reads a caller's request from its headers and body, before anything else is contacted."""

import json
import math
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

from processor.bridge.refusals import Refusal, invalid
from topics.limits import ChannelPattern, Invalid, check_channel, check_response_id
from topics.openai_channel import ChannelTemplate
from topics.records import JsonObject, Reason

CHANNEL_HEADER: Final = "x-tokenstream-channel"
RESPONSE_ID_HEADER: Final = "x-tokenstream-response-id"
MODE_HEADER: Final = "x-tokenstream-mode"
TOKEN_HEADER: Final = "x-tokenstream-token"
_OURS: Final = "x-tokenstream-"
_DETACH: Final = "detach"
_TRACE_HEADERS: Final = ("traceparent", "tracestate")
_NOT_FORWARDED: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"),
        *("transfer-encoding", "upgrade", "expect", "host", "content-length", "content-type", "content-encoding"),
        *("accept", "accept-encoding", "cookie"),
    }
)
"""Of the connection and of the body as the caller sent it. Cookies are for browsers."""


Headers = tuple[tuple[str, str], ...]


class Mode(StrEnum):
    """How the caller gets its answer: as a stream, whole, or not at all."""

    STREAM = "stream"
    WHOLE = "whole"
    DETACH = "detach"


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides about channels."""

    template: ChannelTemplate | None = None
    pattern: ChannelPattern | None = None


@dataclass(frozen=True, slots=True)
class BridgeRequest:
    """One completion. `body` and `headers` go to the model server, `trace` goes to Kafka."""

    response_id: str
    channel: str
    mode: Mode
    body: bytes
    headers: Headers
    trace: tuple[tuple[str, bytes], ...]


def read_request(
    body: bytes | bytearray, headers: Mapping[str, str], rules: Rules, key: str | None = None
) -> BridgeRequest:
    """Names of `headers` are looked up without case, by the mapping. `key` is for callers without one. Raises Refusal."""
    fields = _read_body(body)
    response_id = headers.get(RESPONSE_ID_HEADER) or make_response_id()
    if (wrong := check_response_id(response_id)) is not None:
        raise invalid(f"Header {RESPONSE_ID_HEADER} is not valid: {wrong.detail}.", "invalid_response_id")
    return BridgeRequest(
        response_id=response_id,
        channel=_channel(response_id, fields, headers, rules),
        mode=_mode(fields, headers),
        body=_streamed(fields),
        headers=authorized(forwarded(headers), key),
        trace=tuple((name, _raw(headers[name])) for name in _TRACE_HEADERS if headers.get(name)),
    )


def forwarded(headers: Mapping[str, str]) -> Headers:
    """The headers that go on to the model server: not those of the connection, which `Connection` may name."""
    kept_back = _NOT_FORWARDED | named_by_connection(headers)
    return tuple(
        (name, value)
        for name, value in headers.items()
        if name.lower() not in kept_back and not name.lower().startswith(_OURS)
    )


def named_by_connection(headers: Mapping[str, str]) -> frozenset[str]:
    """Names, in lower case, of headers that are not to be passed on (RFC 9110, section 7.6.1)."""
    values = [value for name, value in headers.items() if name.lower() == "connection"]
    return frozenset(name.strip().lower() for value in values for name in value.split(","))


def authorized(headers: Headers, key: str | None) -> Headers:
    """With the bridge's key, where the caller sent no `Authorization`."""
    if key is None or any(name.lower() == "authorization" and value.strip() for name, value in headers):
        return headers
    others = tuple((name, value) for name, value in headers if name.lower() != "authorization")
    return (*others, ("Authorization", f"Bearer {key}"))


def make_response_id() -> str:
    """A UUID of version 7 (RFC 9562): ids made later sort later."""
    milliseconds = time.time_ns() // 1_000_000
    number = (milliseconds & (2**48 - 1)) << 80 | int.from_bytes(os.urandom(10))
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=number))


def _read_body(body: bytes | bytearray) -> JsonObject:
    fields: Any
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        fields = _read_slowly(body)
    if not isinstance(fields, dict):
        raise invalid("The body is not a JSON object. Send a request of the Chat Completions API.")
    return fields


def _read_slowly(body: bytes | bytearray) -> Any:
    """Text with half a surrogate pair is refused by the fast reader alone. Numbers that JSON cannot hold are refused here too."""
    try:
        return json.loads(body, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        raise invalid("The body is not JSON. Send a request of the Chat Completions API.") from None


def _finite(text: str) -> float:
    """Raises ValueError for `NaN` and infinities, which would reach the model server as null."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _streamed(fields: JsonObject) -> bytes:
    """The request as the model server gets it: always for a stream, with usage at its end."""
    options = fields.get("stream_options")
    options = options if isinstance(options, dict) else {}
    asked = {**fields, "stream": True, "stream_options": {**options, "include_usage": True}}
    try:
        return orjson.dumps(asked)
    except orjson.JSONEncodeError:
        text = json.dumps(asked, separators=(",", ":"), ensure_ascii=False)
        return text.encode("utf-8", "backslashreplace")  # writes half a surrogate pair as JSON does


def _mode(fields: JsonObject, headers: Mapping[str, str]) -> Mode:
    given = headers.get(MODE_HEADER)
    if given is None:
        return Mode.STREAM if fields.get("stream") is True else Mode.WHOLE
    if given.strip().lower() != _DETACH:
        raise invalid(f"Header {MODE_HEADER} must be {_DETACH}. Leave it out to get the completion.")
    return Mode.DETACH


def _channel(response_id: str, fields: JsonObject, headers: Mapping[str, str], rules: Rules) -> str:
    channel = headers.get(CHANNEL_HEADER) or _from_template(response_id, fields, headers, rules.template)
    wrong = check_channel(channel, rules.pattern)
    if wrong is None:
        return channel
    if wrong.reason is Reason.CHANNEL_FORBIDDEN:
        raise Refusal(403, "channel_forbidden", f"The {wrong.detail}.")
    raise invalid(f"The {wrong.detail}.", "invalid_channel")


def _from_template(
    response_id: str, fields: JsonObject, headers: Mapping[str, str], template: ChannelTemplate | None
) -> str:
    if template is None:
        raise invalid(
            f"The request has no channel. Send header {CHANNEL_HEADER}, or set CHANNEL_TEMPLATE.", "no_channel"
        )
    given = [(name, _raw(value)) for name in template.headers if (value := headers.get(name))]
    user = fields.get("user")
    filled = template.fill(None, response_id, given, user if isinstance(user, str) else None)
    if isinstance(filled, Invalid):
        raise invalid(
            f"The request has no channel: {filled.detail}. Send header {CHANNEL_HEADER}, or what the template needs.",
            "no_channel",
        )
    return filled


def _raw(value: str) -> bytes:
    """The bytes of a header's value, which need not be UTF-8."""
    return value.encode("utf-8", "surrogateescape")
