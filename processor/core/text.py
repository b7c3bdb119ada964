"""Text as readers count it: UTF-16 code units, JSON-encoded bytes, halves of surrogate pairs."""

import orjson

REPLACEMENT = "\ufffd"


def utf16_length(text: str) -> int:
    """`String.length` of the text in JavaScript."""
    if text.isascii():
        return len(text)
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def json_length(text: str) -> int:
    """Bytes of the text inside a JSON string, its quotes not counted."""
    return len(orjson.dumps(text)) - 2


def ends_in_high_half(text: str) -> bool:
    return bool(text) and "\ud800" <= text[-1] <= "\udbff"


def starts_with_low_half(text: str) -> bool:
    return bool(text) and "\udc00" <= text[0] <= "\udfff"


def join_halves(first: str, second: str) -> str:
    """`first` ends in a high half, `second` starts with its low half."""
    point = 0x10000 + ((ord(first[-1]) - 0xD800) << 10) + (ord(second[0]) - 0xDC00)
    return first[:-1] + chr(point) + second[1:]


def cut(text: str, budget: int) -> str:
    """The longest prefix, cut between code points, whose JSON encoding takes at most `budget` bytes; one at least.

    Depends on nothing but its arguments, so a retry cuts in the same places.
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
