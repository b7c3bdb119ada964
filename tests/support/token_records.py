"""Token records as JSON, one of each event, and what they decode to."""

from typing import Any

from topics.codec import TokenRecord, decode_record

START: dict[str, Any] = {"event": "start", "responseId": "r-1", "seq": 0, "channel": "chat:42"}
TOKEN: dict[str, Any] = {"event": "token", "responseId": "r-1", "seq": 1, "text": "Hel"}
STOP: dict[str, Any] = {"event": "stop", "responseId": "r-1", "seq": 2}


def decoded(value: bytes) -> TokenRecord:
    record = decode_record(value)
    assert isinstance(record, TokenRecord), record
    return record
