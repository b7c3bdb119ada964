"""Computes the sizes in bytes of a response's contents in its encoded record."""

from typing import Final

import orjson

from processor.core.items import PartText
from processor.core.text import json_length
from topics.records import JsonObject

GAP_SIZE: Final = 32
"""Returns the size of a gap."""
_PART_FIELDS: Final = 96


def part_size(part: PartText) -> int:
    """Returns the size of a part without its text."""
    return _PART_FIELDS + json_length(part.name) + json_length(part.kind) + encoded_size(part.info)


def token_size(text: str) -> int:
    """Returns the size of a token's text in an encoded record; an upper bound if the text has an unpaired surrogate."""
    try:
        return json_length(text)
    except orjson.JSONEncodeError:
        return len(text) * 6


def encoded_size(value: JsonObject | None) -> int:
    return 0 if value is None else len(orjson.dumps(value))
