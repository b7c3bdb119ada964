"""Response records are written in their public form, and read again."""

import re
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics.codec import (
    decode_response,
    encode_response,
)
from topics.records import Part, ResponseRecord, Status

RESPONSE = ResponseRecord(
    response_id="r-8f2c",
    channel="chat:42",
    status=Status.COMPLETE,
    reason="stop",
    parts=(
        Part(part="text", kind="text", text="Hel", length=3),
        Part(part="call_1", kind="tool_call", text='{"city":', length=8, info={"name": "weather"}),
    ),
    seq=3,
    tokens=2,
    gaps=((1, 1),),
    metadata={},
    usage={},
    started_at=1763860000000,
    first_token_at=1763860000031,
    updated_at=1763860000040,
    finished_at=1763860000040,
)


def test_a_response_record_has_the_public_form() -> None:
    assert encode_response(RESPONSE).decode() == (
        '{"v":1,"responseId":"r-8f2c","channel":"chat:42","status":"complete","reason":"stop","error":null,'
        '"parts":[{"part":"text","kind":"text","text":"Hel","length":3},'
        '{"part":"call_1","kind":"tool_call","info":{"name":"weather"},"text":"{\\"city\\":","length":8}],'
        '"seq":3,"tokens":2,"gaps":[[1,1]],"metadata":{},"usage":{},"startedAt":1763860000000,"firstTokenAt":1763860000031,'
        '"updatedAt":1763860000040,"finishedAt":1763860000040,"relay":{}}'
    )


def test_a_response_record_written_is_read_again() -> None:
    assert decode_response(encode_response(RESPONSE)) == RESPONSE
    streaming = msgspec.structs.replace(
        RESPONSE, status=Status.STREAMING, reason=None, finished_at=None, relay={"decided": "gap"}
    )
    assert decode_response(encode_response(streaming)) == streaming


def test_unknown_fields_of_a_response_record_are_ignored() -> None:
    assert decode_response(b'{"new":[1],' + encode_response(RESPONSE)[1:]) == RESPONSE


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "not a response record"),
        (b"[]", "not a response record: Expected `object`"),
        (b'{"v":1}', "missing required field `responseId`"),
        (b'{"v":2}', "version 2; this program knows version 1"),
        (encode_response(RESPONSE).replace(b'"complete"', b'"done"'), "Invalid enum value 'done'"),
        (b'{"relay":' + b"[" * 100_000, "not a response record"),
        (b'{"channel":"\xff","v":1}', "not a response record"),
    ],
)
def test_a_bad_response_record_is_told_in_a_sentence(value: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        decode_response(value)


@given(
    text=st.text(),
    fields=st.dictionaries(
        st.text(), st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
    ),
)
def test_a_response_record_is_written_as_any_json(text: str, fields: dict[str, Any]) -> None:
    part = Part(part="text", kind="text", text=text, length=len(text))
    value = encode_response(msgspec.structs.replace(RESPONSE, parts=(part,), metadata=fields))
    plain = orjson.dumps(msgspec.json.decode(value))
    assert orjson.loads(value) == orjson.loads(plain)
    assert len(value) <= len(plain)  # what the relay counts is never less than what it writes
