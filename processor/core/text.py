"""Measures text as readers do: UTF-16 code units, JSON-encoded bytes, halves of surrogate pairs."""

import orjson

REPLACEMENT = "\ufffd"


def utf16_length(text: str) -> int:
    """Returns the length of the text in UTF-16 code units, as JavaScript's `String.length` does."""
    if text.isascii():
        return len(text)
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def json_length(text: str) -> int:
    """Returns the bytes of the text inside a JSON string, without the quotes."""
    return len(orjson.dumps(text)) - 2


def ends_in_high_half(text: str) -> bool:
    return bool(text) and "\ud800" <= text[-1] <= "\udbff"


def starts_with_low_half(text: str) -> bool:
    return bool(text) and "\udc00" <= text[0] <= "\udfff"


def join_halves(first: str, second: str) -> str:
    """Returns True if `first` ends in a high surrogate and `second` starts with its low surrogate."""
    point = 0x10000 + ((ord(first[-1]) - 0xD800) << 10) + (ord(second[0]) - 0xDC00)
    return first[:-1] + chr(point) + second[1:]


def cut(text: str, budget: int) -> str:
    """Returns the longest prefix whose JSON encoding takes at most `budget` bytes, cut between code points; at least
    one code point.

    The result depends only on the arguments, so a retry cuts in the same places.
    """
    if len(text) * 6 <= budget or json_length(text) <= budget:
        return text
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if json_length(text[:middle]) <= budget:
            low = middle
        else:
            high = middle - 1
    return text[:low]
