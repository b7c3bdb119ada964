"""Records of the frames topic as values, and values as server-sent events (WHATWG HTML, section 9.2)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from processor.reader.frames import Message, ReceivedFrame, parse_frame

KEEP_ALIVE = b": keep-alive\n\n"
PUBLISHER = "tokenstream"
"""Only relays write the frames topic, so every frame on it has this publisher."""


class LoggedFrame(msgspec.Struct, gc=False):
    """One frame of the log. `data` is the JSON line that readers get. Times are in milliseconds: `ts` is that of the
    record's value, 0 if it has none; `written` is Kafka's.

    `serial` numbers the frames of one gateway in the order in which it read them.
    """

    partition: int
    offset: int
    channel: str
    response_id: str
    name: str
    id: str
    ts: int
    written: int
    data: bytes
    serial: int = 0

    @property
    def cost(self) -> int:
        """Bytes that the frame counts in the buffer."""
        return len(self.data) + FRAME_COST

    def read_again(self) -> "FrameRead":
        fields = orjson.loads(self.data)
        message = Message(name=self.name, data=fields["data"], headers=fields["headers"], client_id=PUBLISHER)
        frame = parse_frame(message)
        assert frame is not None, "only frames are logged"
        return FrameRead(self, frame, message)


@dataclass(frozen=True, slots=True)
class FrameRead:
    """A frame of the log, and what it means to a reader."""

    logged: LoggedFrame
    frame: ReceivedFrame
    message: Message


FRAME_COST = 400
"""Bytes of memory that a buffered frame takes beside its line: the object, its strings and its places in two queues."""


def read_frame(partition: int, offset: int, written: int, value: bytes | None) -> FrameRead | None:
    """Returns the frame that a record of the frames topic holds; None where it holds none."""
    try:
        fields = orjson.loads(value or b"null")
    except orjson.JSONDecodeError:
        return None
    match fields:
        case {"channel": str(channel), "name": str(name), "id": str(identity), "headers": dict(headers)}:
            data, ts = fields.get("data"), fields.get("ts")
        case _:
            return None
    if not all(isinstance(header, str) for header in headers.values()):
        return None
    message = Message(name=name, data=data, headers=headers, client_id=PUBLISHER)
    if (frame := parse_frame(message)) is None:
        return None
    at = ts if isinstance(ts, int) and not isinstance(ts, bool) else 0
    line = event_line(channel, name, identity, data, headers)
    logged = LoggedFrame(partition, offset, channel, frame.response_id, name, identity, at, written, line)
    return FrameRead(logged, frame, message)


def event_line(
    channel: str | None, name: str, identity: str | None, data: Any, headers: Mapping[str, str] | None = None
) -> bytes:
    """Returns the `data:` of an event: one line of JSON."""
    fields = {"channel": channel, "name": name, "id": identity, "data": data, "headers": headers or {}}
    return encode_json(fields)


def encode_json(value: Any) -> bytes:
    """Returns one line. What orjson refuses (half a surrogate pair, numbers beyond 64 bits) is written with escapes."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def event(name: str | None, position: str | None, line: bytes, *, retry_ms: int | None = None) -> bytes:
    """Returns the bytes of an event. Without a name it is a `message` of EventSource."""
    lines = b"" if name is None else b"event: " + name.encode() + b"\n"
    if position is not None:
        lines += b"id: " + position.encode() + b"\n"
    if retry_ms is not None:
        lines += b"retry: %d\n" % retry_ms
    return lines + b"data: " + line + b"\n\n"


def snapshot_line(channel: str, response_id: str, seq: int, record: bytes) -> bytes:
    """`record` is a response record in JSON, without a line break."""
    identity, headers = encode_json(f"{response_id}/snapshot/{seq}"), encode_json({"responseId": response_id})
    head = b'{"channel":%b,"name":"snapshot","id":%b,"data":' % (encode_json(channel), identity)
    return b'%b%b,"headers":%b}' % (head, record, headers)
