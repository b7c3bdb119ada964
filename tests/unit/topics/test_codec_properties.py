"""Any bytes give a record or the reason why not, and what the producer writes comes back."""

import json
import re
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from support.token_records import START, STOP, TOKEN, decoded
from topics.codec import (
    MAX_SEQ,
    Decoder,
    Invalid,
    TokenRecord,
    decode_record,
    encode_token_event,
)
from topics.records import Event

names = st.sampled_from(["v", "event", "responseId", "seq", "channel", "text", "kind", "part", "partInfo", "ts", "reason", "usage", "error", "metadata", "unpaired", "zz"])  # fmt: skip
plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([0, 1, 2, 1.5])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=8)
    | st.sampled_from(
        ["start", "token", "stop", "error", "length", "chat:1", "r-1", "text", "tool_call", "\ud83d", "x\ude00"]
    )
)
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
objects = st.dictionaries(names, values, max_size=8) | st.builds(
    lambda base, changes: {**base, **changes},
    st.sampled_from([START, TOKEN, STOP]),
    st.dictionaries(names, values, max_size=4),
)


@given(st.binary())
def test_any_bytes_give_an_answer(value: bytes) -> None:
    assert isinstance(decode_record(value), TokenRecord | Invalid)


FRAGMENTS = [
    b"{", b"}", b"[", b"]", b'"', b"\\", b"\\u", b"d83d", b"\\ude00", b",", b":", b" ", b"\n", b"\0", b"\0\0\0\0\x01",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\xbd", b"\xf0\x9f\x98\x80", b"\xc0\x80", b"\x7f", b"\xc2\x85",
    b"[" * 600, b"]" * 600, b'{"a":' * 600, b"9" * 400, b"1e400", b"-", b"0", b".", b"NaN", b"-Infinity", b"null", b"true",
    b'{"event":"start","responseId":"r","channel":"c"', b'{"event":"token","responseId":"r","text":"t"', b'{"event":"stop","responseId":"r"',
    b'"event":"token"', b'"responseId":"r"', b'"text":"', b'"seq":', b'"ts":', b'"metadata":{', b'"usage":{', b'"partInfo":', b'"v":', b'"kind":"', b'"part":"',
]  # fmt: skip


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=20).map(b"".join))
def test_any_bytes_like_records_give_an_answer_that_can_be_written(value: bytes) -> None:
    record = decode_record(value)
    assert isinstance(record, TokenRecord | Invalid)
    assert record == decode_record(value)
    if isinstance(record, TokenRecord):
        response_id, channel, part = record.response_id, record.channel or "", record.part or ""
        orjson.dumps([response_id, channel, part, record.metadata, record.usage, record.error, record.part_info])


@given(objects | values, st.booleans())
def test_any_json_gives_an_answer_that_keeps_the_limits(value: object, ascii_only: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    record = decode_record(raw)
    assert isinstance(record, TokenRecord | Invalid)
    if isinstance(record, TokenRecord):
        assert record.event in {"start", "token", "stop"}
        assert record.seq is None or (record.seq == 0) == (record.event == "start")
        assert record.event != "start" or record.channel
        assert record.event != "stop" or record.reason
        assert record.event != "token" or (record.text is not None and record.kind and record.part)


@given(objects, st.integers(0, 200), st.integers(0, 255))
def test_both_readings_agree(value: dict[str, Any], at: int, byte: int) -> None:
    """The slow path, forced by a lone surrogate in an unknown field, decides as the plain one does; also about damaged bytes."""
    raw = bytearray(json.dumps(value).encode())
    if at < len(raw):
        raw[at] = byte
    plainly, slowly = decode_record(bytes(raw)), Decoder()._decode_slowly(bytes(raw))
    if raw[:1] == b"\0":  # a schema prefix is taken off before
        return
    if isinstance(plainly, Invalid) or isinstance(slowly, Invalid):
        assert plainly == slowly
    else:
        assert belonging(plainly) == belonging(slowly)


def belonging(record: TokenRecord) -> tuple[object, ...]:
    common = (record.event, record.response_id, record.seq, record.ts, record.unpaired)
    match record.event:
        case "start":
            return (*common, record.channel, record.metadata)
        case "token":
            return (*common, record.text, record.kind, record.part, record.part_info)
        case _:
            return (*common, record.reason, record.usage, record.error)


small_objects = st.none() | st.dictionaries(
    st.text(max_size=5), st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5) | st.booleans() | st.none(), max_size=4
)
ids = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=64).filter(
    lambda text: text not in {".", ".."}
)


@given(
    ids, st.integers(1, MAX_SEQ), st.text(st.characters()), st.sampled_from([None, "text", "tool_call"]), small_objects
)
def test_a_token_written_is_read_again(
    response_id: str, seq: int, text: str, kind: str | None, info: dict[str, Any] | None
) -> None:
    record = decoded(encode_token_event(Event.TOKEN, response_id, seq, ts=5, text=text, kind=kind, part_info=info))
    lone = re.compile("[\ud800-\udfff]")
    assert (record.response_id, record.seq, record.ts, record.kind) == (response_id, seq, 5, kind or "text")
    assert record.part_info == info
    assert record.text is not None
    assert lone.sub("?", record.text).replace("\ufffd", "?") == lone.sub("?", text).replace("\ufffd", "?")
    assert record.unpaired == (lone.search(record.text) is not None)


@given(ids.filter(lambda text: text[0] not in "[:"), small_objects)
def test_a_start_and_a_stop_written_are_read_again(channel: str, fields: dict[str, Any] | None) -> None:
    start = decoded(encode_token_event(Event.START, "r", 0, channel=channel, metadata=fields))
    assert (start.channel, start.metadata) == (channel, fields)
    stop = decoded(encode_token_event(Event.STOP, "r", 9, reason="error", usage=fields, error=fields))
    assert (stop.reason, stop.usage, stop.error) == ("error", fields, fields)
