"""The objects of a record (`metadata`, `usage`, `error`, `partInfo`): their limits, and their encoded form.

orjson, every store and a browser represent the form alike: strings without lone surrogates, integers of 64 bits,
finite numbers.

* A lone surrogate becomes U+FFFD, also in keys.
* An integer beyond 64 bits becomes the nearest double, as in JavaScript.
* A number beyond a double becomes null.
"""

import math
from typing import Any

import orjson

from topics.errors import TokenstreamError
from topics.limits import MAX_OBJECT_BYTES, MAX_OBJECT_DEPTH, SURROGATE, Invalid
from topics.records import JsonObject, Reason


class _RefusedError(TokenstreamError):
    def __init__(self, reason: Reason, what: str) -> None:
        self.reason = reason
        self.what = what


def read_object(name: str, fields: JsonObject) -> JsonObject | Invalid:
    """Returns an object of JSON values in the form above, or the limit that it exceeds."""
    return _taken(name, fields, _Copy())


def write_object(name: str, fields: object) -> JsonObject | Invalid:
    """Returns an object of Python values in the form above, or the reason why it cannot have that form.

    Accepts what orjson accepts as values: also tuples, dates, UUIDs, enumerations and dataclasses. Refuses NaN and
    infinity.
    """
    if not isinstance(fields, dict):
        return Invalid(Reason.INVALID, f"{name} must be a dict, not {type(fields).__name__}")
    return _taken(name, fields, _Copy(finite=True))


def _taken(name: str, fields: JsonObject, copy: "_Copy") -> JsonObject | Invalid:
    try:
        taken = copy.object_of(fields, 1)
    except _RefusedError as error:
        return Invalid(error.reason, f"{name} {error.what}")
    if len(orjson.dumps(taken)) > MAX_OBJECT_BYTES:
        return Invalid(Reason.TOO_LARGE, f"{name} is over {MAX_OBJECT_BYTES} bytes")
    return taken


class _Copy:
    """Copies one object. Bounded in depth and in values, for objects that hold one value at many places too."""

    __slots__ = ("_finite", "_left")

    def __init__(self, *, finite: bool = False) -> None:
        self._finite = finite
        self._left = MAX_OBJECT_BYTES  # each value takes a byte at least

    def object_of(self, fields: dict[Any, Any], depth: int) -> JsonObject:
        if depth > MAX_OBJECT_DEPTH:
            raise _RefusedError(Reason.TOO_LARGE, f"is nested deeper than {MAX_OBJECT_DEPTH}")
        return {_key(key): self._value(item, depth) for key, item in fields.items()}

    def _list_of(self, items: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
        if depth > MAX_OBJECT_DEPTH:
            raise _RefusedError(Reason.TOO_LARGE, f"is nested deeper than {MAX_OBJECT_DEPTH}")
        return [self._value(item, depth) for item in items]

    def _value(self, item: object, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise _RefusedError(Reason.TOO_LARGE, f"is over {MAX_OBJECT_BYTES} bytes")
        if item is None or isinstance(item, bool):
            return item
        if isinstance(item, str):
            return _text(item)
        if isinstance(item, int):
            return _integer(int(item))
        if isinstance(item, float):
            return self._number(float(item))
        if isinstance(item, dict):
            return self.object_of(item, depth + 1)
        if isinstance(item, list | tuple):
            return self._list_of(item, depth + 1)
        return self._other(item, depth)

    def _number(self, number: float) -> float | None:
        if math.isfinite(number):
            return number
        if self._finite:
            raise _RefusedError(Reason.INVALID, f"holds {number}, which JSON cannot write")
        return None

    def _other(self, item: object, depth: int) -> Any:
        try:
            return self._value(orjson.loads(orjson.dumps(item)), depth)
        except (orjson.JSONEncodeError, orjson.JSONDecodeError) as error:
            what = f"holds a value of type {type(item).__name__}, which JSON cannot write: convert it first"
            raise _RefusedError(Reason.INVALID, what) from error


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise _RefusedError(Reason.INVALID, f"has a key of type {type(key).__name__}: keys must be strings")
    return _text(key)


def _text(text: str) -> str:
    if SURROGATE.search(text) is None:
        return str.__str__(text)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _integer(number: int) -> float | None:
    if -(2**63) <= number < 2**64:
        return number
    try:
        return float(number)
    except OverflowError:
        return None
