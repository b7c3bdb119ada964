"""How many bytes what a response holds takes in its encoded record."""

from typing import Final

import orjson

from processor.core.items import PartText
from processor.core.text import json_length
from topics.records import JsonObject

GAP_SIZE: Final = 32
"""Of a gap."""
_PART_FIELDS: Final = 96


def part_size(part: PartText) -> int:
    """Of a part without its text."""
    return _PART_FIELDS + json_length(part.name) + json_length(part.kind) + encoded_size(part.info)


def token_size(text: str) -> int:
    """Bytes of a token's text inside an encoded record; an upper bound where it holds half a surrogate pair."""
    try:
        return json_length(text)
    except orjson.JSONEncodeError:
        return len(text) * 6


def encoded_size(value: JsonObject | None) -> int:
    return 0 if value is None else len(orjson.dumps(value))
