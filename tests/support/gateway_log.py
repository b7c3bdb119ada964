"""Frames and records as on the topics that a gateway reads."""

import hashlib
import json
from typing import Any

from processor.gateway.events import FrameRead, read_frame
from processor.ports.followed import FollowedRecord


def frame_value(
    name: str, data: Any, *, channel: str = "chat:1", response_id: str = "r1", ts: int = 1_000, **headers: Any
) -> bytes:
    given = {"responseId": response_id, **{key: str(value) for key, value in headers.items()}}
    end = given.get("seqEnd", given["seq"])
    identity = f"{response_id}/{name}/{given['seq']}-{end}/{given.get('offset', 0)}"
    fields = {"channel": channel, "name": name, "id": identity, "data": data, "headers": given, "ts": ts}
    return json.dumps(fields).encode()


def start(response_id: str = "r1", channel: str = "chat:1", **metadata: Any) -> bytes:
    return frame_value("start", metadata or None, channel=channel, response_id=response_id, seq=0)


def token(
    seq: int, offset: int, text: str, response_id: str = "r1", channel: str = "chat:1", *, seq_end: int | None = None
) -> bytes:
    end = seq if seq_end is None else seq_end
    return frame_value("token", text, channel=channel, response_id=response_id, seq=seq, seqEnd=end, offset=offset)


def part(
    seq: int, offset: int, text: str, name: str, kind: str, info: dict[str, Any] | None = None, response_id: str = "r1"
) -> bytes:
    more: dict[str, Any] = {} if info is None else {"partInfo": json.dumps(info)}
    return frame_value(
        "part", text, response_id=response_id, seq=seq, seqEnd=seq, offset=offset, part=name, kind=kind, **more
    )


def stop(
    seq: int,
    texts: dict[str, str],
    response_id: str = "r1",
    channel: str = "chat:1",
    *,
    reason: str = "stop",
    status: str = "complete",
    usage: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
) -> bytes:
    parts = [{"part": name, "length": units(text), "sha256": sha256(text)} for name, text in texts.items()]
    data = {"reason": reason, "status": status, "usage": usage, "error": error, "parts": parts}
    return frame_value("stop", data, channel=channel, response_id=response_id, seq=seq)


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read(value: bytes, offset: int = 0, partition: int = 0, written: int = 1_000) -> FrameRead:
    found = read_frame(partition, offset, written, value)
    assert found is not None
    return found


def logged(values: list[bytes], *, partition: int = 0, first: int = 0, written: int = 1_000) -> list[FollowedRecord]:
    return [FollowedRecord(partition, first + index, written, b"", value) for index, value in enumerate(values)]


def record_value(
    response_id: str = "r1",
    text: str = "",
    *,
    seq: int = 0,
    status: str = "streaming",
    channel: str = "chat:1",
    **more: Any,
) -> bytes:
    parts = [{"part": "text", "kind": "text", "text": text, "length": units(text)}] if text else []
    fields = {
        "v": 1,
        "responseId": response_id,
        "channel": channel,
        "status": status,
        "reason": None if status == "streaming" else "stop",
        "error": None,
        "parts": parts,
        "seq": seq,
        "tokens": 0,
        "gaps": [],
        "metadata": None,
        "usage": None,
        "startedAt": 1_000,
        "firstTokenAt": None,
        "updatedAt": 1_000,
        "finishedAt": None if status == "streaming" else 2_000,
        "relay": {},
    }
    return json.dumps(fields | more).encode()


def response_record(value: bytes | None, response_id: str = "r1", offset: int = 0) -> FollowedRecord:
    return FollowedRecord(0, offset, 1_000, response_id.encode(), value)
