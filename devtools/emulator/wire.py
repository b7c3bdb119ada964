"""Ably's protocol messages as structs, and their two encodings (JSON text, MessagePack binary).

Absent and null fields are equal. Unknown fields are ignored. `data` and `encoding` pass through unchanged, except
that raw bytes become base64 in JSON (and `encoding` has that).

Messages are trees, so they need no garbage collector: `gc=False` prevents a full history from slowing every publish.
"""

import base64
import json
import re
from enum import IntEnum, StrEnum
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType


class Action(IntEnum):
    HEARTBEAT = 0
    ACK = 1
    NACK = 2
    CONNECT = 3
    CONNECTED = 4
    DISCONNECT = 5
    DISCONNECTED = 6
    CLOSE = 7
    CLOSED = 8
    ERROR = 9
    ATTACH = 10
    ATTACHED = 11
    DETACH = 12
    DETACHED = 13
    PRESENCE = 14
    MESSAGE = 15
    SYNC = 16
    AUTH = 17


class MessageAction(IntEnum):
    CREATE = 0
    UPDATE = 1
    DELETE = 2
    META = 3
    SUMMARY = 4
    APPEND = 5


class Flag(IntEnum):
    HAS_BACKLOG = 2
    RESUMED = 4
    ATTACH_RESUME = 32
    PRESENCE = 1 << 16
    PUBLISH = 1 << 17
    SUBSCRIBE = 1 << 18
    PRESENCE_SUBSCRIBE = 1 << 19


ALL_MODES = Flag.PRESENCE | Flag.PUBLISH | Flag.SUBSCRIBE | Flag.PRESENCE_SUBSCRIBE
MAX_MESSAGE_SIZE = 65536
"""Bytes of name, clientId, data and extras (as JSON), summed over a publish."""


class Format(StrEnum):
    JSON = "json"
    MSGPACK = "msgpack"


class ErrorInfo(msgspec.Struct, omit_defaults=True, rename="camel", frozen=True):
    code: int
    status_code: int
    message: str
    href: str | None = None


class Version(msgspec.Struct, omit_defaults=True, rename="camel", gc=False):
    serial: str | None = None
    timestamp: int | None = None
    client_id: str | None = None
    description: str | None = None
    metadata: dict[str, Any] | None = None


class Message(msgspec.Struct, omit_defaults=True, rename="camel", gc=False):
    id: str | None = None
    name: str | None = None
    data: Any = None
    encoding: str | None = None
    client_id: str | None = None
    connection_id: str | None = None
    connection_key: str | None = None
    extras: Any = None
    action: int | UnsetType = UNSET
    serial: str | None = None
    version: Version | str | None = None
    timestamp: int | None = None


class Auth(msgspec.Struct, omit_defaults=True, rename="camel"):
    access_token: str | None = None


class PublishResult(msgspec.Struct, gc=False):
    serials: tuple[str, ...]


class ConnectionDetails(msgspec.Struct, omit_defaults=True, rename="camel", frozen=True):
    connection_key: str
    client_id: str | None = None
    max_message_size: int | None = None
    max_inbound_rate: int | None = None
    max_outbound_rate: int | None = None
    max_frame_size: int | None = None
    server_id: str | None = None
    connection_state_ttl: int | None = None
    max_idle_interval: int | None = None


class ProtocolMessage(msgspec.Struct, omit_defaults=True, rename="camel", gc=False):
    action: int
    id: str | None = None
    channel: str | None = None
    channel_serial: str | None = None
    connection_id: str | None = None
    connection_key: str | None = None
    msg_serial: int | None = None
    count: int | None = None
    timestamp: int | None = None
    flags: int | None = None
    params: dict[str, Any] | None = None
    error: ErrorInfo | None = None
    auth: Auth | None = None
    messages: list[Message] | None = None
    res: list[PublishResult] | None = None
    connection_details: ConnectionDetails | None = None


class NotProtocol(Exception):
    """The bytes are not a protocol message; `str()` gives the reason."""


_json_encoder = msgspec.json.Encoder()
_msgpack_encoder = msgspec.msgpack.Encoder()
_json_decoder = msgspec.json.Decoder(ProtocolMessage, strict=False)
_msgpack_decoder = msgspec.msgpack.Decoder(ProtocolMessage, strict=False)


def decode(raw: str | bytes, encoding: Format) -> ProtocolMessage:
    """Raises NotProtocol."""
    try:
        if encoding is Format.MSGPACK and isinstance(raw, bytes):
            return _msgpack_decoder.decode(raw)
        return _json_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeError) as error:
        if encoding is Format.JSON:
            return _decode_with_lone_surrogates(raw, error)
        raise NotProtocol(f"frame is not a protocol message: {error}") from error


def _decode_with_lone_surrogates(raw: str | bytes, first: Exception) -> ProtocolMessage:
    """JavaScript may send half a surrogate pair, escaped; it is replaced, as any UTF-8 transport would."""
    try:
        text = json.dumps(json.loads(raw), ensure_ascii=False)
        return _json_decoder.decode(re.sub("[\ud800-\udfff]", "\ufffd", text))
    except (ValueError, msgspec.DecodeError) as error:
        raise NotProtocol(f"frame is not a protocol message: {first}") from error


def encode(message: ProtocolMessage, encoding: Format) -> bytes:
    if encoding is Format.MSGPACK:
        return _msgpack_encoder.encode(message)
    if message.messages is not None and any(type(inner.data) is bytes for inner in message.messages):
        message = msgspec.structs.replace(message, messages=[as_text(inner) for inner in message.messages])
    return _json_encoder.encode(message)


def as_text(message: Message) -> Message:
    """Returns the message in a form that JSON can hold: raw bytes as base64, with that in `encoding`."""
    if not isinstance(message.data, bytes):
        return message
    told = f"{message.encoding}/base64" if message.encoding else "base64"
    data = base64.b64encode(message.data).decode()
    return msgspec.structs.replace(message, data=data, encoding=told)


def encode_value(value: Any, encoding: Format) -> bytes:
    """A REST body: messages, lists of them, or plain values."""
    if encoding is Format.MSGPACK:
        return _msgpack_encoder.encode(value)
    if isinstance(value, Message):
        value = as_text(value)
    elif isinstance(value, list):
        value = [as_text(item) if isinstance(item, Message) else item for item in value]
    return _json_encoder.encode(value)


def decode_messages(raw: bytes, encoding: Format) -> list[Message]:
    """A REST publish body: one message or an array of them. Raises NotProtocol."""
    kind = Message | list[Message]
    try:
        if encoding is Format.MSGPACK:
            found = msgspec.msgpack.decode(raw, type=kind, strict=False)
        else:
            found = msgspec.json.decode(raw, type=kind, strict=False)
    except msgspec.DecodeError as error:
        raise NotProtocol(f"body is not a message or an array of messages: {error}") from error
    return found if isinstance(found, list) else [found]


def message_size(messages: list[Message]) -> int:
    """Ably's measure: name, clientId, data and extras (as JSON), summed."""
    total = 0
    for message in messages:
        total += _text_size(message.name) + _text_size(message.client_id) + _data_size(message.data)
        if message.extras is not None:
            total += len(_json_encoder.encode(message.extras))
    return total


def _text_size(text: str | None) -> int:
    if text is None:
        return 0
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _data_size(data: Any) -> int:
    if data is None:
        return 0
    if isinstance(data, str):
        return _text_size(data)
    return len(data) if isinstance(data, bytes) else len(_json_encoder.encode(data))


_STATUS = {
    40000: 400, 40001: 400, 40006: 400, 40009: 413, 40010: 400, 40012: 400, 40031: 400, 40034: 400,
    40101: 401, 40102: 401, 40104: 401, 40105: 401, 40140: 401, 40142: 401, 40144: 401, 40160: 401, 40166: 401,
    40300: 403, 40400: 404, 42910: 429, 42911: 429, 42913: 429, 42914: 429, 42917: 429, 42918: 429, 42920: 429, 42921: 429,
    50000: 500, 50003: 503, 80000: 400, 80003: 400, 80008: 400, 80018: 400, 80019: 400, 80020: 500,
    90001: 400, 90003: 404, 93002: 400,
}  # fmt: skip

_MESSAGES = {
    40010: "Invalid channel name",
    40009: "Maximum message length exceeded",
    40101: "Invalid credentials",
    40142: "Token expired",
    40160: "Channel denied access based on given capability",
    40400: "Not found",
    42910: "Rate limit exceeded; request rejected (nonfatal); metric = system overload",
    42911: "Rate limit exceeded; request rejected (nonfatal); metric = connection.inboundRate",
    42913: "Rate limit exceeded; request rejected (nonfatal); metric = channel.maxRate",
    42917: "Rate limit exceeded; request rejected (nonfatal); metric = messages.maxRate",
    42921: "Rate limit exceeded (fatal); metric = connection.inboundRate",
    50003: "Service temporarily unavailable",
    80003: "Connection disconnected",
    80018: "Invalid connection key",
    80020: "Continuity loss due to maximum subscribe message rate exceeded",
    90003: "Unable to recover channel (messages expired)",
}


def error(code: int, message: str | None = None, status: int | None = None) -> ErrorInfo:
    """Ably's error for a code; the status is the code's own unless another is asked for."""
    text = message or _MESSAGES.get(code, f"Refused with {code}")
    found = status or _STATUS.get(code) or (code // 100 if 400 <= code // 100 < 600 else 400)
    return ErrorInfo(code=code, status_code=found, message=text, href=f"https://help.ably.io/error/{code}")
