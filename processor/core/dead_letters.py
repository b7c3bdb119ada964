"""Builds dead letters: the original record unchanged, with headers that give its origin and the reason."""

import hashlib
from collections.abc import Sequence

from processor.core.write_queue import DeadLetter

CUT_ROOM = 24 * 1024
"""Room for key and headers below the topic's size limit."""
KEEP_HEADERS = 16 * 1024
"""The maximum size in bytes of the kept original headers, names and values. A header that does not fit is left out."""
HEADER_OVERHEAD = 4
OWN_PREFIX = "tokenstream-"
DETAIL_CHARACTERS = 500

Headers = list[tuple[str, bytes | None]]


def headers_of(letter: DeadLetter, *, topic: str, partition: int, now_ms: int) -> Headers:
    """Returns the original's headers, then ours: `tokenstream-reason`, `-topic`, `-partition`, `-offset`, `-time`,
    `-detail`.

    `tokenstream-headers-left-out` counts the headers that were left out, and `tokenstream-headers-size` is the size
    of all of them.
    `tokenstream-headers-renamed` counts names that are not UTF-8 and cannot be written unchanged.
    """
    own = {
        "reason": str(letter.reason),
        "topic": topic,
        "partition": str(partition),
        "offset": str(letter.raw.offset),
        "time": str(now_ms),
    }
    if letter.detail:
        own["detail"] = _encodable(letter.detail[:DETAIL_CHARACTERS])
    kept, stated = _kept(letter.raw.headers or ())
    if renamed := getattr(letter.raw, "renamed", 0):
        stated["headers-renamed"] = renamed
    own |= {name: str(number) for name, number in stated.items()}
    return [*kept, *((OWN_PREFIX + name, value.encode()) for name, value in own.items())]


def _kept(headers: Sequence[tuple[str, bytes | None]]) -> tuple[Headers, dict[str, int]]:
    """Returns the headers that fit, in order, and a summary of the others. Names with our prefix are never the
    original's.
    """
    kept: Headers = []
    room, size, left_out = KEEP_HEADERS, 0, 0
    for name, value in headers:
        cost = len(name.encode(errors="replace")) + len(value or b"") + HEADER_OVERHEAD
        size += cost
        if cost <= room and not name.startswith(OWN_PREFIX):
            room -= cost
            kept.append((_encodable(name), value))
        else:
            left_out += 1
    return kept, {"headers-left-out": left_out, "headers-size": size} if left_out else {}


def _encodable(text: str) -> str:
    """Returns the text without unpaired surrogates, which UTF-8 cannot hold."""
    return text.encode(errors="replace").decode()


def value_of(letter: DeadLetter, limit: int) -> tuple[bytes | None, Headers]:
    """Returns the original value.

    A value above `limit` bytes is cut, and headers give its hash and its full size.
    If key and value are both null, the value is empty and the header `tokenstream-null-value` is set.
    """
    value = letter.raw.value
    if value is None and letter.raw.key is None:  # which the client does not write
        return b"", [(OWN_PREFIX + "null-value", b"true")]
    room = max(0, limit - CUT_ROOM - len(letter.raw.key or b""))
    if value is None or len(value) <= room:
        return value, []
    digest = hashlib.sha256(value).hexdigest()
    return value[:room], [
        ("tokenstream-sha256", digest.encode()),
        ("tokenstream-size", str(len(value)).encode()),
    ]
