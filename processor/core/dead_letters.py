"""Dead letters as records: the original unchanged, with headers that say where it came from and why it is here."""

import hashlib
from collections.abc import Sequence

from processor.core.write_queue import DeadLetter

CUT_ROOM = 24 * 1024
"""Room for key and headers below the topic's size limit."""
KEEP_HEADERS = 16 * 1024
"""Bytes of the original's headers, names and values, that are kept; a value that does not fit is left out, its name with it."""
HEADER_OVERHEAD = 4
OWN_PREFIX = "tokenstream-"
DETAIL_CHARACTERS = 500

Headers = list[tuple[str, bytes | None]]


def headers_of(letter: DeadLetter, *, topic: str, partition: int, now_ms: int) -> Headers:
    """The original's headers as they were, then ours: `tokenstream-reason`, `-topic`, `-partition`, `-offset`, `-time`, `-detail`.

    What is not as it was is counted: `tokenstream-headers-left-out`, with the size of all of them in
    `tokenstream-headers-size`, and `tokenstream-headers-renamed` where a name is not UTF-8 and can't be written again.
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
    """Headers that fit, in order, and what is to be stated of the others. Names with our prefix are never the original's."""
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
    """Without lone halves of surrogate pairs, which no UTF-8 has."""
    return text.encode(errors="replace").decode()


def value_of(letter: DeadLetter, limit: int) -> tuple[bytes | None, Headers]:
    """The original value; above `limit` bytes cut, with headers that tell its hash and true size.

    Where key and value are both null the value is empty, and `tokenstream-null-value` says so.
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
