"""Decodes bytes to token records, and encodes them. Any bytes give a record or the reason why they are not one.

Guarantees, for every input:

* Nothing is raised, and the result depends only on the bytes and the channel pattern.
* A returned `TokenRecord` keeps every limit below. Fields of other events may be set in it, and have no meaning.
* A null field counts as absent, except `v`. A field that does not belong to the event is ignored, whatever its value.
* `v` is checked before anything else in the object, so a record of a later version is always reported as such.

The plain path is one msgspec decode into a flat struct and a few comparisons.
What it refuses (lone surrogates, a wrong type in a field of another event, and every invalid value) is decided by a
slow path, on the standard library's reading.
"""

import json
import re
from typing import Annotated, Final

import msgspec
import orjson

from topics.json_text import MAX_NESTING, REPLACEMENT, check_nesting, is_utf8, read_json
from topics.limits import (
    KIND_PATTERN,
    MAX_OBJECT_BYTES,
    MAX_OBJECT_DEPTH,
    MAX_PART_CHARACTERS,
    MAX_RESPONSE_ID_BYTES,
    MAX_SEQ,
    MAX_TEXT_BYTES,
    MAX_TIME_MS,
    SURROGATE,
    ChannelPattern,
    Invalid,
    check_channel,
    check_part,
    check_response_id,
)
from topics.objects import read_object
from topics.plain import PlainToken
from topics.records import (
    FORMAT_VERSION,
    STATUS_BY_REASON,
    TEXT_PART,
    EndReason,
    Event,
    JsonObject,
    Reason,
    ResponseRecord,
)

__all__ = [
    "KIND_PATTERN",
    "MAX_NESTING",
    "MAX_OBJECT_BYTES",
    "MAX_OBJECT_DEPTH",
    "MAX_PART_CHARACTERS",
    "MAX_RESPONSE_ID_BYTES",
    "MAX_SEQ",
    "MAX_TEXT_BYTES",
    "Decoder",
    "Invalid",
    "TokenRecord",
    "check_channel",
    "check_response_id",
    "decode_record",
    "decode_response",
    "encode_response",
    "encode_token_event",
]


_INNER_SURROGATE: Final = re.compile(r"(?<!^)[\udc00-\udfff]|[\ud800-\udbff](?!\Z)")
_NOT_JSON: Final = "the value is not JSON in UTF-8"
_START, _TOKEN, _STOP = (str(event) for event in (Event.START, Event.TOKEN, Event.STOP))
_BELONGS: Final = {
    _START: ("channel", "metadata"),
    _TOKEN: ("text", "kind", "part", "partInfo"),
    _STOP: ("reason", "usage", "error"),
}


_Number = Annotated[int, msgspec.Meta(ge=0, le=MAX_SEQ)]
_Time = Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME_MS)]


class TokenRecord(msgspec.Struct, gc=False, rename="camel"):
    """One token event, flat. A decoded `start` has its `channel`, a `token` its `text`, `kind` and `part`, and a
    `stop` its `reason`.

    `unpaired` is True if `text` begins with a lone low surrogate or ends with a lone high one, which the next event
    may complete.
    """

    event: str
    response_id: str
    seq: _Number | None = None
    text: str | None = None
    kind: str | None = TEXT_PART
    part: str | None = None
    part_info: JsonObject | None = None
    channel: str | None = None
    ts: _Time | None = None
    reason: str | None = None
    usage: JsonObject | None = None
    error: JsonObject | None = None
    metadata: JsonObject | None = None
    v: Annotated[int, msgspec.Meta(ge=FORMAT_VERSION, le=FORMAT_VERSION)] = FORMAT_VERSION
    unpaired: bool = False


class Decoder:
    """Decodes the values of one topic. Its only state is the rule for channels: a full match of `channel_pattern`, if
    given.
    """

    __slots__ = ("_channel_pattern", "_decode", "plain")

    def __init__(self, channel_pattern: ChannelPattern | None = None) -> None:
        self._channel_pattern = channel_pattern
        self._decode = msgspec.json.Decoder(TokenRecord).decode
        self.plain = msgspec.json.Decoder(PlainToken).decode
        """Reads a plain token in one step, and raises one of `NOT_PLAIN` for any other value. See `PlainToken`."""

    def decode(self, value: bytes | None) -> TokenRecord | Invalid:
        """Decodes a value. Never raises. Called once per record, on the hot path."""
        given: bytes = value  # type: ignore[assignment]  # None is a TypeError below, and so costs nothing
        try:
            record = self._decode(given)
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
            return self._decode_odd(value)
        response_id = record.response_id
        if (  # the plain token, nothing but text: nearly every record
            record.event == _TOKEN
            and record.part is None
            and record.seq != 0
            and record.text is not None
            and record.kind == TEXT_PART
            and record.part_info is None
            and not record.unpaired
            and response_id.isprintable()
            and 2 < len(response_id) <= 64  # characters, so at most 256 bytes, and no dots alone
            and len(given) <= MAX_NESTING
            and (given.isascii() or is_utf8(given))
        ):
            record.part = TEXT_PART
            return record
        return self._judge(record, given)

    def _judge(self, record: TokenRecord, value: bytes) -> TokenRecord | Invalid:
        """Decodes a value that msgspec could read and that is not a plain token."""
        size = len(value)
        if size > MAX_NESTING and (deep := check_nesting(value)):
            return deep
        if not value.isascii() and not is_utf8(value):  # msgspec does not look inside unknown fields
            return Invalid(Reason.NOT_JSON, _NOT_JSON)
        record.unpaired = False  # set by the slow path only, never by the wire
        return self._check(record, size) or record

    def _decode_odd(self, value: bytes | None) -> TokenRecord | Invalid:
        """Decodes a value that msgspec refused, or that does not begin with JSON."""
        if not value:
            return Invalid(Reason.NOT_JSON, "the value is null" if value is None else "the value is empty")
        if value[0] == 0:  # no JSON begins so: Confluent's wire format, magic byte and 4 bytes of schema id
            value = value[5:]
            try:
                return self._judge(self._decode(value), value)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                pass  # what is left is judged as any other
        if len(value) > MAX_NESTING and (deep := check_nesting(value)):
            return deep
        return self._decode_slowly(value)

    def _check(self, record: TokenRecord, size: int) -> Invalid | None:
        """Sets defaults in place, and checks what types do not express. `size` bounds the size of the text: escapes
        only shrink.
        """
        if wrong := check_response_id(record.response_id):
            return wrong
        if record.event == _TOKEN:
            return _check_token(record, size)
        if record.event == _START:
            return self._check_start(record)
        if record.event == _STOP:
            return _check_stop(record)
        return Invalid(Reason.INVALID, "event is not start, token or stop")

    def _check_start(self, record: TokenRecord) -> Invalid | None:
        if record.seq:
            return Invalid(Reason.INVALID, "seq of a start is not 0")
        if record.channel is None:
            return Invalid(Reason.INVALID, "channel is missing")
        wrong = check_channel(record.channel, self._channel_pattern)
        if wrong is not None and wrong.reason is Reason.CHANNEL_FORBIDDEN:
            return Invalid(wrong.reason, wrong.detail, (record.response_id, record.channel))
        return wrong or _take_object(record, "metadata")

    def _decode_slowly(self, value: bytes) -> TokenRecord | Invalid:
        try:
            fields = read_json(value)
        except RecursionError:
            return Invalid(Reason.TOO_LARGE, "the value is nested too deeply")
        except ValueError:
            return Invalid(Reason.NOT_JSON, _NOT_JSON)
        if not isinstance(fields, dict):
            return Invalid(Reason.INVALID, "the value is not an object")
        version = fields.get("v", FORMAT_VERSION)
        if type(version) is not int or version != FORMAT_VERSION:
            return _wrong_version(version)
        record = _build(fields)
        if isinstance(record, Invalid):
            return record
        return self._check(record, len(value)) or record


def decode_record(value: bytes | None) -> TokenRecord | Invalid:
    """Decodes a value as `Decoder.decode` does, with any channel allowed."""
    return Decoder().decode(value)


def _check_token(record: TokenRecord, size: int) -> Invalid | None:
    if record.seq == 0:
        return Invalid(Reason.INVALID, "seq of a token is 0, the start's")
    text = record.text
    if text is None:
        return Invalid(Reason.INVALID, "text is missing")
    if size > MAX_TEXT_BYTES and len(text.encode(errors="surrogatepass")) > MAX_TEXT_BYTES:
        return Invalid(Reason.TOO_LARGE, f"text is over {MAX_TEXT_BYTES} bytes")
    kind, part = record.kind, record.part
    if kind is None:
        record.kind = kind = TEXT_PART
    elif kind != TEXT_PART and KIND_PATTERN.fullmatch(kind) is None:
        return Invalid(Reason.INVALID, f"kind does not match {KIND_PATTERN.pattern}")
    if part is None:
        record.part = kind
    elif wrong := check_part(part, kind):
        return wrong
    return _take_object(record, "partInfo")


def _check_stop(record: TokenRecord) -> Invalid | None:
    if record.seq == 0:
        return Invalid(Reason.INVALID, "seq of a stop is 0, the start's")
    if record.reason is None:
        record.reason = EndReason.STOP
    elif record.reason not in STATUS_BY_REASON:
        return Invalid(Reason.INVALID, "reason is not one of " + ", ".join(STATUS_BY_REASON))
    if record.reason != EndReason.ERROR:
        record.error = None
    return _take_object(record, "usage") or _take_object(record, "error")


def _take_object(record: TokenRecord, name: str) -> Invalid | None:
    attribute = "part_info" if name == "partInfo" else name
    fields = getattr(record, attribute)
    if fields:
        taken = read_object(name, fields)
        if isinstance(taken, Invalid):
            return taken
        setattr(record, attribute, taken)
    return None


def _build(fields: JsonObject) -> TokenRecord | Invalid:
    """Returns the record of an object that the plain path refused, from the fields of its event only."""
    event, response_id = fields.get("event"), fields.get("responseId")
    if not isinstance(event, str) or event not in _BELONGS:
        return Invalid(Reason.INVALID, "event is not start, token or stop")
    if not isinstance(response_id, str):
        return Invalid(Reason.INVALID, "responseId is missing or not a string")
    record = TokenRecord(event, response_id)
    for name in ("seq", "ts", *_BELONGS[event]):
        value = fields.get(name)
        if value is None or (name == "error" and fields.get("reason") != EndReason.ERROR):
            continue
        if wrong := _set(record, name, value):
            return wrong
    return record


def _set(record: TokenRecord, name: str, value: object) -> Invalid | None:
    if name in ("seq", "ts"):
        if type(value) is not int or not 0 <= value <= (MAX_SEQ if name == "seq" else MAX_TIME_MS):
            return Invalid(Reason.INVALID, f"{name} is not an integer between 0 and 2^53-1")
        setattr(record, name, value)
    elif name in ("metadata", "usage", "error", "partInfo"):
        if not isinstance(value, dict):
            return Invalid(Reason.INVALID, f"{name} is not an object")
        setattr(record, "part_info" if name == "partInfo" else name, value)
    elif not isinstance(value, str):
        return Invalid(Reason.INVALID, f"{name} is not a string")
    elif name == "text":
        record.text = _INNER_SURROGATE.sub(REPLACEMENT, value)
        record.unpaired = SURROGATE.search(record.text) is not None
    else:
        setattr(record, name, value)
    return None


def _wrong_version(version: object) -> Invalid:
    if type(version) is int and version > FORMAT_VERSION:
        return Invalid(Reason.VERSION, "v is above 1, the version known here")
    return Invalid(Reason.INVALID, "v is not a version")


def encode_token_event(
    event: Event,
    response_id: str,
    seq: int | None,
    *,
    ts: int | None = None,
    channel: str | None = None,
    metadata: JsonObject | None = None,
    text: str | None = None,
    kind: str | None = None,
    part: str | None = None,
    part_info: JsonObject | None = None,
    reason: str | None = None,
    usage: JsonObject | None = None,
    error: JsonObject | None = None,
) -> bytes:
    """Returns the value of one `tokens` record. Fields that are None are left out. A lone surrogate is kept, as an
    escape.

    Raises TypeError if an object is not JSON.
    """
    fields = {
        "v": FORMAT_VERSION,
        "event": event,
        "responseId": response_id,
        "seq": seq,
        "channel": channel,
        "text": text,
        "kind": kind,
        "part": part,
        "partInfo": part_info,
        "reason": reason,
        "usage": usage,
        "error": error,
        "ts": ts,
        "metadata": metadata,
    }
    given = {name: field for name, field in fields.items() if field is not None}
    try:
        return orjson.dumps(given)
    except orjson.JSONEncodeError:
        return json.dumps(given, separators=(",", ":"), allow_nan=False).encode()


_encode_response: Final = msgspec.json.Encoder().encode


def encode_response(record: ResponseRecord) -> bytes:
    """Returns the value of one `responses` record, with fields in the order of the public format.

    Raises TypeError or ValueError if an object is not JSON. What `Decoder` accepts always is.
    """
    return _encode_response(record)


def decode_response(value: bytes) -> ResponseRecord:
    """Decodes a response record. Raises ValueError, with a sentence, if the value is not one of this version."""
    try:
        version = msgspec.json.decode(value, type=_Version).v
        if version == FORMAT_VERSION:
            return msgspec.json.decode(value, type=ResponseRecord)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValueError(f"the value is not a response record: {error}") from error
    raise ValueError(f"the response record has version {version}; this program knows version {FORMAT_VERSION}")


class _Version(msgspec.Struct):
    v: int = FORMAT_VERSION
