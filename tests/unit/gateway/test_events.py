"""Records of the frames topic become events; what is no frame becomes nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.gateway.events import encode_json, event, event_line, read_frame, snapshot_line
from support.gateway_log import frame_value, read, token

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def test_an_event_has_the_fields_of_the_contract() -> None:
    line = read(token(1, 0, "Hel\nlo")).logged.data
    assert json.loads(line) == {
        "channel": "chat:1",
        "name": "token",
        "id": "r1/token/1-1/0",
        "data": "Hel\nlo",
        "headers": {"responseId": "r1", "seq": "1", "seqEnd": "1", "offset": "0"},
    }
    assert b"\n" not in line


def test_an_event_is_written_as_server_sent_events_are() -> None:
    assert event("token", "p1.0-1", b"{}", retry_ms=5) == b"event: token\nid: p1.0-1\nretry: 5\ndata: {}\n\n"
    assert event(None, None, b"[DONE]") == b"data: [DONE]\n\n"


def test_a_snapshot_has_the_fields_of_every_event() -> None:
    line = snapshot_line("chat:1", "r1", 7, b'{"seq":7}')
    assert json.loads(line) == {
        "channel": "chat:1",
        "name": "snapshot",
        "id": "r1/snapshot/7",
        "data": {"seq": 7},
        "headers": {"responseId": "r1"},
    }


def test_white_space_of_another_writer_breaks_no_event() -> None:
    pretty = json.dumps(json.loads(token(1, 0, "a")), indent=2).encode()
    assert read(pretty).logged.data == read(token(1, 0, "a")).logged.data


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"1",
        frame_value("other", "x", seq=1),
        frame_value("token", 5, seq=1, offset=0),
        frame_value("token", "x", seq=-1, offset=0),
        frame_value("token", "x", response_id="", seq=1, offset=0),
        b'{"channel":1,"name":"token","id":"i","data":"x","headers":{"responseId":"r","seq":"1"}}',
        b'{"channel":"c","name":"token","id":"i","data":"x","headers":{"responseId":"r","seq":1}}',
        b'{"channel":"c","name":"token","id":"i","data":"x","headers":[]}',
    ],
)
def test_what_is_no_frame_is_none(value: bytes | None) -> None:
    assert read_frame(0, 0, 0, value) is None


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_record_is_read_without_an_error(value: bytes) -> None:
    assert read_frame(0, 0, 0, value) is None


@given(json_values)
def test_any_data_is_one_line_of_json(value: object) -> None:
    line = encode_json({"data": value})
    assert b"\n" not in line
    assert b"\r" not in line
    assert json.loads(line) == {"data": value}


def test_half_a_pair_is_written_as_an_escape() -> None:
    line = event_line("c", "token", "i", "\ud83d")
    assert json.loads(line)["data"] == "\ud83d"
    assert json.loads(snapshot_line("c\ud83d", "r", 1, b'{"a":1}'))["data"] == {"a": 1}


def test_a_buffered_frame_can_be_read_again() -> None:
    first = read(token(1, 0, "Hel"))
    assert first.logged.read_again() == first
