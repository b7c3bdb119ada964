"""The documentation and the JSON Schemas give the limits that the code keeps."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from topics import limits
from topics.json_text import MAX_NESTING
from topics.records import STATUS_BY_REASON

DOCUMENT = Path(__file__).parents[3] / "docs" / "limits.md"
ROWS = [
    f"| `responseId` | 1-{limits.MAX_RESPONSE_ID_BYTES:,} bytes of UTF-8",
    f"| `channel` | 1-{limits.MAX_CHANNEL_BYTES:,} bytes of UTF-8",
    f"| `seq` | 0-{limits.MAX_SEQ:,} ",
    f"| `ts` | 0-{limits.MAX_TIME_MS:,} ",
    f"| `text` | {limits.MAX_TEXT_BYTES:,} bytes of UTF-8",
    f"| `kind` | 1-{limits.MAX_KIND_CHARACTERS} of ",
    f"| `part` | 1-{limits.MAX_PART_CHARACTERS} characters ",
    f"| parts of a response | {limits.MAX_PARTS} ",
    f"each | {limits.MAX_OBJECT_BYTES:,} bytes as compact JSON, {limits.MAX_OBJECT_DEPTH} levels ",
    f"| `reason` | {', '.join(f'`{reason}`' for reason in STATUS_BY_REASON)} ",
    f"| nesting of the whole value | {MAX_NESTING} levels ",
]


@pytest.mark.parametrize("row", ROWS)
def test_the_documented_limit_is_the_one_kept(row: str) -> None:
    assert row in DOCUMENT.read_text(encoding="utf-8")


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files("topics").joinpath(f"schemas/{name}.json").read_text(encoding="utf-8"))
    return found


def test_the_schema_of_a_token_record_has_these_limits() -> None:
    defined = schema("token-record")["$defs"]
    start, token, stop = (defined[event]["properties"] for event in ("start", "token", "stop"))
    assert defined["responseId"]["maxLength"] == limits.MAX_RESPONSE_ID_BYTES
    assert start["channel"]["maxLength"] == limits.MAX_CHANNEL_BYTES
    for event in (start, token, stop):
        assert event["ts"]["maximum"] == limits.MAX_TIME_MS
    for event in (token, stop):
        assert event["seq"]["maximum"] == limits.MAX_SEQ
    assert token["kind"]["pattern"] == f"^{limits.KIND_PATTERN.pattern}$"
    assert token["part"]["maxLength"] == limits.MAX_PART_CHARACTERS
    assert stop["reason"]["enum"] == [*STATUS_BY_REASON, None]


def test_the_schema_of_a_response_record_has_these_limits() -> None:
    fields = schema("response-record")["properties"]
    part = fields["parts"]["items"]["properties"]
    assert fields["responseId"]["maxLength"] == limits.MAX_RESPONSE_ID_BYTES
    assert fields["channel"]["maxLength"] == limits.MAX_CHANNEL_BYTES
    assert fields["parts"]["maxItems"] == limits.MAX_PARTS
    assert part["part"]["maxLength"] == limits.MAX_PART_CHARACTERS
    assert part["kind"]["pattern"] == f"^{limits.KIND_PATTERN.pattern}$"
    for name in ("startedAt", "firstTokenAt", "updatedAt", "finishedAt"):
        assert fields[name]["maximum"] == limits.MAX_TIME_MS
