"""Parses the realtime service's answers. Accepts any value: an answer of no known form determines nothing."""

from collections.abc import Mapping, Sequence

from processor.ably.refusals import Refusal, refusal
from processor.errors import PublishRetry

LONGEST = 300
"""Characters of the service's own words that are kept."""
TOO_LARGE = 40009
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError)
"""What the SDK raises for an answer that it can't read."""


def number(value: object, default: int = 0) -> int:
    """Returns the value as a code or an HTTP status where it can be one, else `default`."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return default
    try:
        found = int(value)
    except (ValueError, OverflowError):
        return default
    return found if 0 < found < 1_000_000 else default


def words(value: object) -> str:
    return value[:LONGEST] if isinstance(value, str) else ""


def refusal_of(code: object, status: object, message: object) -> Refusal:
    """Returns the refusal that these fields of an error describe, whatever their types."""
    return refusal(number(code), number(status), words(message))


def read_error(items: object, status: object) -> Refusal:
    """Returns the refusal of a request that is refused as a whole.

    A status without an error code is often a gateway's, and refuses no message; the exception is 413.
    """
    first = items[0] if isinstance(items, list) and items else None
    error = first.get("error") if isinstance(first, Mapping) else None
    fields = error if isinstance(error, Mapping) else {}
    found = refusal_of(fields.get("code"), fields.get("statusCode") or status, fields.get("message"))
    return refusal(TOO_LARGE, 413, str(found)) if found.code == 0 and number(status) == 413 else found


def read_results(items: object, status: object, channels: Sequence[str]) -> list[Exception | None] | None:
    """Returns a result for each spec, in order: None where it was accepted. None where the request was refused as a
    whole.

    Both shapes that the service has are read: since protocol version 3 an object of results for each spec; before,
    one list of results, inside an error with code 40020 where some failed. A success inside an answer that is an
    error as a whole is not believed.
    """
    found = items if isinstance(items, list) else [items]
    first = found[0] if len(found) == 1 and isinstance(found[0], Mapping) else {}
    partial = isinstance(first.get("batchResponse"), list)
    if partial:
        found = first["batchResponse"]
    elif not 200 <= number(status) < 300 or (first.get("error") is not None and "channel" not in first):
        return None
    flat = [result for item in found for result in _results(item)]
    if len(flat) != len(channels):
        return [PublishRetry("the answer has another number of results than the request")] * len(channels)
    return [_read_result(result, channel) for result, channel in zip(flat, channels, strict=True)]


def _results(item: object) -> list[object]:
    results = item.get("results") if isinstance(item, Mapping) else None
    return results if isinstance(results, list) else [item]


def _read_result(result: object, channel: str) -> Exception | None:
    if not isinstance(result, Mapping) or result.get("channel") != channel:
        return PublishRetry("a result of the answer is not the channel's")
    error = result.get("error")
    if error is None:
        return None
    if not isinstance(error, Mapping):
        return PublishRetry("a result of the answer has an error of no known shape")
    return refusal_of(error.get("code"), error.get("statusCode") or 500, error.get("message"))
