"""What the objects of a record may hold, and the form they travel in: a number or half a pair never costs the answer."""

import dataclasses
import datetime as dt
import json
import math
import uuid
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics.codec import TokenRecord, decode_record
from topics.limits import MAX_OBJECT_BYTES, MAX_OBJECT_DEPTH, Invalid
from topics.objects import read_object, write_object
from topics.records import JsonObject, Reason

START = '{"event":"start","responseId":"r","channel":"c","metadata":%s}'
TOKEN = '{"event":"token","responseId":"r","text":"t","kind":"tool_call","partInfo":%s}'
USAGE = '{"event":"stop","responseId":"r","usage":%s}'
ERROR = '{"event":"stop","responseId":"r","reason":"error","error":%s}'


def objects_of(record: TokenRecord | Invalid) -> JsonObject | None:
    assert isinstance(record, TokenRecord), record
    return record.metadata or record.part_info or record.usage or record.error


@pytest.mark.parametrize("record", [START, TOKEN, USAGE, ERROR], ids=["metadata", "partInfo", "usage", "error"])
@pytest.mark.parametrize(
    ("number", "kept"),
    [
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("18446744073709551616", 2.0**64),
        ("-9223372036854775809", -(2.0**63)),
        ("340282366920938463463374607431768211455", 2.0**128),
        ("1" + "0" * 308, 1e308),
        ("1" + "0" * 309, None),
        ("-" + "9" * 5000, None),
        ("1e400", None),
        ("-1e400", None),
        ("1e-400", 0.0),
        ("0." + "0" * 400 + "1", 0.0),
        ("1.7976931348623157e308", 1.7976931348623157e308),
    ],
)
def test_a_number_of_any_size_keeps_the_record(record: str, number: str, kept: float | None) -> None:
    for lone in ("", ',"zz":"\\ud83d"'):  # the second is read by the slow path
        value = (record % f'{{"a":[{{"b":{number}}}],"c":1}}')[:-1] + lone + "}"
        found = objects_of(decode_record(value.encode()))
        assert found == {"a": [{"b": kept}], "c": 1}
        assert type(found["a"][0]["b"]) is type(kept)


@pytest.mark.parametrize("record", [START, TOKEN, USAGE, ERROR], ids=["metadata", "partInfo", "usage", "error"])
def test_half_a_pair_becomes_the_replacement_character(record: str) -> None:
    value = record % '{"a\\ud83d":"\\ude00b","c":"\\ud83d\\ude00"}'
    assert objects_of(decode_record(value.encode())) == {"a\ufffd": "\ufffdb", "c": "\U0001f600"}


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Name(str):
    __slots__ = ()


@dataclasses.dataclass
class Usage:
    tokens: int


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("half \ud83d", "half \ufffd"),
        ("\ud83d\ude00", "\U0001f600"),
        (2**128 - 1, 2.0**128),
        (10**400, None),
        ((1, 2), [1, 2]),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Name("n"), "n"),
        (Usage(7), {"tokens": 7}),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (True, True),
        (None, None),
    ],
)
def test_a_program_may_give_what_json_can_write(given: object, kept: object) -> None:
    assert write_object("usage", {"x": [given]}) == {"x": [kept]}


def endless() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["again"] = [found, found]
    return found


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"price": Decimal("0.000744")}, Reason.INVALID),
        ({1: 2}, Reason.INVALID),
        ({"x": {None: 2}}, Reason.INVALID),
        ({"cost": math.nan}, Reason.INVALID),
        ({"cost": [-math.inf]}, Reason.INVALID),
        ({"x": object()}, Reason.INVALID),
        ({"x": {1, 2}}, Reason.INVALID),
        ({"x": b"bytes"}, Reason.INVALID),
        ([1], Reason.INVALID),
        ("text", Reason.INVALID),
        (Usage(7), Reason.INVALID),
        (endless(), Reason.TOO_LARGE),
        ({"x": [0] * (MAX_OBJECT_BYTES + 1)}, Reason.TOO_LARGE),
    ],
)
def test_what_json_cannot_write_is_refused_with_the_fields_name(fields: object, reason: Reason) -> None:
    wrong = write_object("usage", fields)
    assert isinstance(wrong, Invalid)
    assert wrong.reason is reason
    assert wrong.detail.startswith("usage ")


def test_the_callers_object_is_left_alone() -> None:
    inner = {"x": 2**70, "y": "\ud83d"}
    given = {"a": inner}
    write_object("usage", given)
    assert given == {"a": {"x": 2**70, "y": "\ud83d"}}
    assert given["a"] is inner


@given(
    st.dictionaries(
        st.text(st.characters()),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.integers().map(lambda n: 2 ** (abs(n) % 1200)),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
        ),
    )
)  # fmt: skip
def test_every_reader_reads_the_same(fields: dict[str, Any]) -> None:
    kept = read_object("metadata", fields)
    if isinstance(kept, Invalid):
        assert kept.reason is Reason.TOO_LARGE
        return
    written = orjson.dumps(kept)
    assert len(written) <= MAX_OBJECT_BYTES
    assert orjson.loads(written) == json.loads(written) == msgspec.json.decode(written) == kept
    assert msgspec.json.decode(msgspec.json.encode(kept)) == kept
    assert read_object("metadata", kept) == kept
    assert json.dumps(kept).count("{") >= 1
    assert MAX_OBJECT_DEPTH < 254  # orjson's own
