"""Control records on the wire, and what their consumers remember of them."""

import json
from importlib.resources import files
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics.controls import (
    MAX_CONTROL_BYTES,
    ControlEvent,
    ControlRecord,
    ControlsMemory,
    decode_control,
    encode_control,
)
from topics.limits import Invalid

CONTROL = jsonschema_rs.Draft202012Validator(
    json.loads(files("topics").joinpath("schemas/control-record.json").read_text(encoding="utf-8"))
)
CANCEL = '{"v":1,"event":"cancel","responseId":"r-1","channel":"chat:42","ts":1763860000000,"reason":"user"}'
UNWANTED = '{"event":"unwanted","responseId":"r-1","reason":"abandoned"}'


@pytest.mark.parametrize("example", [CANCEL, UNWANTED])
def test_the_examples_of_the_contract_are_valid(example: str) -> None:
    CONTROL.validate(json.loads(example))
    assert isinstance(decode_control(example.encode()), ControlRecord)


def test_what_is_written_is_what_is_read() -> None:
    record = ControlRecord(ControlEvent.CANCEL, "r-1", "chat:42", 7, "user")
    assert decode_control(encode_control(record)) == record
    assert json.loads(encode_control(record)) == {
        "v": 1,
        "event": "cancel",
        "responseId": "r-1",
        "channel": "chat:42",
        "ts": 7,
        "reason": "user",
    }


@given(
    st.sampled_from([CANCEL, UNWANTED]),
    st.dictionaries(
        st.sampled_from(["v", "event", "responseId", "channel", "ts", "reason", "new"]),
        st.none()
        | st.booleans()
        | st.integers(-1, 3)
        | st.sampled_from(["", ".", "cancel", "unwanted", "start", ":x", "[x", "a\nb", "\x85", "x" * 257, 1.5]),
        max_size=3,
    ),
    st.sets(st.sampled_from(["v", "event", "responseId", "channel", "ts", "reason"]), max_size=2),
)
def test_schema_and_codec_agree(example: str, changes: dict[str, Any], missing: set[str]) -> None:
    changed = {**json.loads(example), **changes}
    value = {name: field for name, field in changed.items() if name not in missing}
    taken = isinstance(decode_control(json.dumps(value).encode()), ControlRecord)
    assert CONTROL.is_valid(value) == taken, value


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_invalid(value: bytes) -> None:
    assert isinstance(decode_control(value), ControlRecord | Invalid)


def test_values_that_are_null_too_large_or_nested_are_invalid() -> None:
    padded = CANCEL[:-1] + ',"new":"' + "x" * MAX_CONTROL_BYTES + '"}'
    nested = CANCEL[:-1] + ',"new":' + "[" * 8000 + "]" * 8000 + "}"
    for value in (None, b"", padded.encode(), nested.encode(), b'{"event":"cancel","responseId":"\xff"}'):
        assert isinstance(decode_control(value), Invalid)


def cancel(response_id: str = "r", channel: str = "c", ts: int = 0) -> ControlRecord:
    return ControlRecord(ControlEvent.CANCEL, response_id, channel, ts)


def moments(memory: ControlsMemory, now: float) -> list[float]:
    return [noted.at for noted in memory.find("r", "c", now)]


def test_a_cancel_is_remembered_for_sixty_seconds() -> None:
    memory = ControlsMemory()
    assert memory.note(cancel(), at=100.0, now=100.0)
    assert moments(memory, 160.0) == [100.0]
    assert moments(memory, 160.1) == []


def test_a_cancel_counts_only_for_its_channel() -> None:
    memory = ControlsMemory()
    memory.note(cancel(channel="mine"), 0.0, 0.0)
    assert not memory.find("r", "theirs", 1.0)
    memory.note(cancel(channel="theirs"), 1.0, 1.0)
    assert memory.find("r", "theirs", 1.0)


def test_unwanted_without_a_channel_counts_for_any() -> None:
    memory = ControlsMemory()
    memory.note(ControlRecord(ControlEvent.UNWANTED, "r"), 0.0, 0.0)
    assert memory.find("r", "any", 1.0)


def test_a_record_that_is_read_again_says_nothing_new() -> None:
    memory = ControlsMemory()
    assert memory.note(cancel(), 10.0, 10.0)
    assert not memory.note(cancel(), 10.5, 20.0)
    assert moments(memory, 20.0) == [10.0]
    assert memory.note(cancel(), 75.0, 75.0), "the first is forgotten"


def test_a_response_that_is_cancelled_again_is_remembered_for_sixty_seconds_from_then() -> None:
    memory = ControlsMemory()
    for second in (10, 30, 50):
        assert memory.note(cancel(ts=second), second, second)
    assert moments(memory, 50.0) == [10.0, 50.0]
    assert moments(memory, 110.0) == [50.0]
    assert not memory.note(cancel(ts=50), 50.0, 71.0), "it is read again"
    assert moments(memory, 110.1) == []


def test_cancels_that_are_read_in_another_order_are_remembered_alike() -> None:
    memory = ControlsMemory()
    for second in (30, 50, 10):
        memory.note(cancel(ts=second), second, 50.0)
    assert moments(memory, 50.0) == [10.0, 50.0]


def test_what_was_written_too_long_ago_is_not_taken() -> None:
    assert not ControlsMemory().note(cancel(), at=0.0, now=61.0)


def test_above_the_bound_the_oldest_is_forgotten() -> None:
    memory = ControlsMemory(most=2)
    for name in ("a", "b", "c"):
        memory.note(cancel(name), 0.0, 0.0)
    assert len(memory) == 2
    assert [bool(memory.find(name, "c", 0.0)) for name in ("a", "b", "c")] == [False, True, True]
