"""The JSON Schemas and the codec agree about a record."""

import json
from importlib.resources import files
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics.codec import TokenRecord, decode_record, encode_response, encode_token_event
from topics.records import Event, Part, ResponseRecord, Status
from topics.wire import json_schemas

EXAMPLES = (
    '{"v":1,"event":"start","responseId":"r-8f2c","seq":0,"channel":"chat:42","ts":1763860000000,"metadata":{"model":"m-large","userId":"u1"}}',
    '{"v":1,"event":"token","responseId":"r-8f2c","seq":1,"text":"Hel","ts":1763860000031}',
    '{"v":1,"event":"token","responseId":"r-8f2c","seq":2,"text":"{\\"city\\":","kind":"tool_call","part":"call_1","partInfo":{"name":"weather"}}',
    '{"v":1,"event":"stop","responseId":"r-8f2c","seq":3,"reason":"stop","usage":{"inputTokens":12,"outputTokens":2}}',
)
RESPONSE_EXAMPLE = """
{"v":1,"responseId":"r-8f2c","channel":"chat:42","status":"complete","reason":"stop","error":null,
 "parts":[{"part":"text","kind":"text","text":"Hel","length":3},{"part":"call_1","kind":"tool_call","info":{"name":"weather"},"text":"{\\"city\\":","length":8}],
 "seq":3,"tokens":2,"gaps":[],"metadata":{},"usage":{},"startedAt":1763860000000,"firstTokenAt":1763860000031,"updatedAt":1763860000040,"finishedAt":1763860000040,"relay":{}}
"""


def validator(name: str) -> jsonschema_rs.Draft202012Validator:
    schema = json.loads(files("topics").joinpath(f"schemas/{name}.json").read_text(encoding="utf-8"))
    assert jsonschema_rs.meta.is_valid(schema)
    return jsonschema_rs.Draft202012Validator(schema)


TOKEN, RESPONSE, FRAME = (validator(name) for name in ("token-record", "response-record", "frame-headers"))


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_a_token_record_are_valid(example: str) -> None:
    TOKEN.validate(json.loads(example))
    assert isinstance(decode_record(example.encode()), TokenRecord)


def test_the_example_of_a_response_record_is_valid() -> None:
    RESPONSE.validate(json.loads(RESPONSE_EXAMPLE))


@given(
    st.sampled_from(EXAMPLES),
    st.dictionaries(
        st.sampled_from(["v", "event", "responseId", "seq", "channel", "text", "kind", "part", "partInfo", "ts", "reason", "usage", "error", "metadata"]),
        st.none()
        | st.booleans()
        | st.integers(-1, 3)
        | st.sampled_from(["", ".", "..", "text", "tool_call", "No", ":x", "[x", "a\nb", "\x85", "error", "length", "start", "stop", "x" * 65, 1.5])
        | st.just({})
        | st.just([]),
        max_size=3,
    ),
    st.sets(st.sampled_from(["v", "event", "responseId", "seq", "channel", "text", "kind", "ts"]), max_size=2),
)  # fmt: skip
def test_schema_and_codec_agree(example: str, changes: dict[str, Any], missing: set[str]) -> None:
    changed = {**json.loads(example), **changes}
    value = {name: field for name, field in changed.items() if name not in missing}
    taken = isinstance(decode_record(json.dumps(value).encode()), TokenRecord)
    assert TOKEN.is_valid(value) == taken, value


def test_what_the_codec_writes_is_valid() -> None:
    TOKEN.validate(json.loads(encode_token_event(Event.START, "r", 0, channel="c", ts=1)))
    TOKEN.validate(
        json.loads(encode_token_event(Event.TOKEN, "r", 1, text="", kind="tool_call", part="x", part_info={}))
    )
    TOKEN.validate(json.loads(encode_token_event(Event.STOP, "r", 2, reason="error", error={"code": "x"}, usage={})))


@pytest.mark.parametrize("status", list(Status))
def test_response_records_written_are_valid(status: Status) -> None:
    record = ResponseRecord(
        response_id="r",
        channel="c",
        status=status,
        parts=(Part(part="text", kind="text", text="é", length=1),),
        seq=4,
        gaps=((2, 3),),
        started_at=1,
        updated_at=2,
        finished_at=2 if status.finished else None,
    )
    RESPONSE.validate(json.loads(encode_response(record)))


@pytest.mark.parametrize(
    ("name", "headers", "valid"),
    [
        ("start", {"responseId": "r", "seq": "0"}, True),
        ("token", {"responseId": "r", "seq": "1", "seqEnd": "9", "offset": "0", "new": "x"}, True),
        ("part", {"responseId": "r", "seq": "1", "seqEnd": "1", "offset": "0", "part": "call_1", "kind": "tool_call", "partInfo": "{}"}, True),
        ("gap", {"responseId": "r", "seq": "3", "seqEnd": "5"}, True),
        ("stop", {"responseId": "r", "seq": "10"}, True),
        ("token", {"responseId": "r", "seq": 1, "seqEnd": "9", "offset": "0"}, False),
        ("token", {"responseId": "r", "seq": "1", "seqEnd": "9"}, False),
        ("part", {"responseId": "r", "seq": "1", "seqEnd": "1", "offset": "0", "part": "call_1"}, False),
        ("gap", {"responseId": "r", "seq": "-1", "seqEnd": "5"}, False),
        ("other", {}, False),
    ],
)  # fmt: skip
def test_frame_headers_are_strings_by_the_frames_name(name: str, headers: dict[str, object], valid: bool) -> None:
    assert FRAME.is_valid({"name": name, "headers": headers}) is valid


@pytest.mark.parametrize("name", json_schemas())
def test_the_schemas_are_those_of_the_types(name: str) -> None:
    written = json.loads(files("topics").joinpath(f"schemas/{name}.json").read_text(encoding="utf-8"))
    assert json_schemas()[name] == written
