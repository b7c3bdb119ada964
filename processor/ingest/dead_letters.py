"""Dead letters as records: the original unchanged, with headers that say where it came from and why it is here."""

import hashlib
from collections.abc import Sequence

from processor.core.book import DeadLetter

CUT_ROOM = 16 * 1024
"""Room for key and headers below the topic's size limit."""
KEEP_HEADERS = 8 * 1024


def headers_of(letter: DeadLetter, *, topic: str, partition: int, now_ms: int) -> list[tuple[str, bytes]]:
    """The original's headers, then ours: `tokenstream-reason`, `-topic`, `-partition`, `-offset`, `-time`, `-detail`."""
    own = {
        "reason": str(letter.reason),
        "topic": topic,
        "partition": str(partition),
        "offset": str(letter.raw.offset),
        "time": str(now_ms),
    }
    if letter.detail:
        own["detail"] = letter.detail[:500]
    kept: list[tuple[str, bytes]] = []
    size = 0
    for name, value in letter.raw.headers or ():
        size += len(name) + len(value or b"")
        if size <= KEEP_HEADERS and not name.startswith("tokenstream-"):
            kept.append((name, value or b""))
    return [*kept, *((f"tokenstream-{name}", value.encode()) for name, value in own.items())]


def value_of(letter: DeadLetter, limit: int) -> tuple[bytes | None, Sequence[tuple[str, bytes]]]:
    """The original value; above `limit` bytes cut, with headers that tell its hash and true size."""
    value = letter.raw.value
    room = max(0, limit - CUT_ROOM - len(letter.raw.key or b""))
    if value is None or len(value) <= room:
        return value, ()
    digest = hashlib.sha256(value).hexdigest()
    return value[:room], (
        ("tokenstream-sha256", digest.encode()),
        ("tokenstream-size", str(len(value)).encode()),
    )
