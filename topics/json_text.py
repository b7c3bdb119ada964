"""Reads JSON text that fast readers refuse: lone surrogates, very large numbers, deep nesting."""

import json
import re
from typing import Any, Final

from topics.limits import Invalid
from topics.records import Reason

MAX_NESTING: Final = 512
"""The maximum nesting of the whole value, including unknown fields. Fixed, so that the result does not depend on the
interpreter's stack.
"""
REPLACEMENT: Final = "\ufffd"

_LONGER_THAN_A_DOUBLE: Final = 320
_BEYOND_A_DOUBLE: Final = 10**_LONGER_THAN_A_DOUBLE

# The closing quote is optional. A search for whole strings would try every quote of an unclosed string as the begin of another.
_TOKEN_OF_NESTING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def read_json(value: bytes) -> Any:
    """Reads with the standard library, which is slow and accepts lone surrogates.

    Raises ValueError for what is not JSON in UTF-8, or RecursionError.
    """
    return json.loads(value.decode(), parse_constant=_refuse_constant, parse_int=_parse_int)


def is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def check_nesting(value: bytes) -> Invalid | None:
    """Returns True if the value is nested beyond `MAX_NESTING`. Does not recurse, and is cheap for values that cannot
    be.
    """
    if value.count(b"[") + value.count(b"{") <= MAX_NESTING:
        return None
    depth = deepest = 0
    for match in _TOKEN_OF_NESTING.finditer(value):
        mark = value[match.start()]
        if mark in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in b"]}":
            depth -= 1
    if deepest <= MAX_NESTING:
        return None
    if depth:
        return Invalid(Reason.NOT_JSON, "the value's brackets do not match")
    return Invalid(Reason.TOO_LARGE, f"the value is nested deeper than {MAX_NESTING}")


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _parse_int(digits: str) -> int:
    """Reads an integer. One beyond a double becomes a double: Python refuses to convert very long integers."""
    if len(digits) < _LONGER_THAN_A_DOUBLE:
        return int(digits)
    return -_BEYOND_A_DOUBLE if digits[0] == "-" else _BEYOND_A_DOUBLE
