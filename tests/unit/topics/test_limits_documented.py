"""The documentation gives the limits that the code keeps."""

from pathlib import Path

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
