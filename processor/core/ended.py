"""Keeps the ids of responses that ended long ago, in few bytes each, so that a late copy of a record opens no response."""

from array import array
from bisect import bisect_left
from hashlib import blake2b
from typing import Final

import msgspec

DELETED: Final = 2**32 - 1
"""The sequence number kept for a deleted response: every record of it is a repeat."""
SEGMENTS: Final = 64
"""The number of segments. At the bound, the oldest segment is forgotten as a whole."""
SMALLEST_SEGMENT: Final = 256


class Ended(msgspec.Struct, frozen=True, gc=False):
    """`seq` is the last number of a consumed record; `start` the first 32 bits of the digest of the start's value."""

    seq: int
    start: int

    @property
    def deleted(self) -> bool:
        return self.seq == DELETED


class EndedIds:
    """Keeps the newest `limit` ids, 16 bytes each in sorted arrays, and searches them from newest to oldest.

    An id is identified by 64 bits of its hash.
    With ten million ids known, an unknown id collides with a known one once in 10**12 lookups.
    """

    __slots__ = ("_newest", "_segment", "_segments")

    def __init__(self, limit: int) -> None:
        self._segment = max(SMALLEST_SEGMENT, limit // SEGMENTS)
        self._newest: dict[int, int] = {}
        self._segments: list[tuple[array[int], array[int]]] = []

    def add(self, response_id: str, seq: int, start: int) -> None:
        """Adds an id. `start` is a number of 32 bits; a `seq` above 32 bits is stored as the largest number below
        DELETED.
        """
        kept = seq if seq == DELETED else min(max(seq, 0), DELETED - 1)
        self._newest[_key(response_id)] = kept << 32 | start
        if len(self._newest) >= self._segment:
            ordered = sorted(self._newest.items())
            self._segments.append(
                (array("Q", [key for key, _ in ordered]), array("Q", [value for _, value in ordered]))
            )
            self._newest = {}
            del self._segments[: max(0, len(self._segments) - SEGMENTS)]

    def get(self, response_id: str) -> Ended | None:
        key = _key(response_id)
        value = self._newest.get(key)
        if value is None:
            value = self._search(key)
        return None if value is None else Ended(value >> 32, value & 0xFFFF_FFFF)

    def _search(self, key: int) -> int | None:
        for keys, values in reversed(self._segments):
            index = bisect_left(keys, key)
            if index < len(keys) and keys[index] == key:
                return values[index]
        return None

    def __len__(self) -> int:
        return len(self._newest) + sum(len(keys) for keys, _ in self._segments)


def _key(response_id: str) -> int:
    return int.from_bytes(blake2b(response_id.encode(errors="replace"), digest_size=8).digest())
