"""Bounds the memory that records take on their way to readers: only readers with a place have records in memory.

A place is held while snapshots are read and sent. A reader that does not take them gives its place up when others wait for one: its
connection is reset. What is live needs no place: there the shared buffer is every reader's queue.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

PLACES = 64
"""Readers that are sent snapshots at one time."""
PATIENCE = 10.0
"""Seconds that a reader may take for one snapshot while others wait."""

T = TypeVar("T")


class SnapshotPlaces:
    def __init__(self, count: int = PLACES) -> None:
        self.turns = asyncio.Semaphore(count)
        self.holders: set[SnapshotPlace] = set()
        self.waiting = 0

    def relieve(self, now: float) -> None:
        """To be called every second or so: ends the connections that have been sending a snapshot for too long, if somebody waits."""
        if not self.waiting:
            return
        sending = [(place.sending, place) for place in self.holders if place.sending is not None]
        slow = [(since, place) for since, place in sending if now - since >= PATIENCE]
        slow.sort(key=lambda each: each[0])
        for _, place in slow[: self.waiting]:
            place.leave()


class SnapshotPlace:
    """One reader's place, held between `take` and `give_back`. `leave` ends the reader's connection."""

    def __init__(self, places: SnapshotPlaces) -> None:
        self._places = places
        self.sending: float | None = None
        """When (monotonic seconds) the snapshot was written that the reader has not taken yet."""
        self.leave: Callable[[], None] = _nothing

    @property
    def held(self) -> bool:
        return self in self._places.holders

    async def take(self) -> None:
        """Waits for a place, behind those who came before. Returns at once where it is held."""
        if self.held:
            return
        self._places.waiting += 1
        try:
            await self._places.turns.acquire()
        finally:
            self._places.waiting -= 1
        self._places.holders.add(self)

    def give_back(self) -> None:
        """Does nothing where it is not held."""
        if self.held:
            self._places.holders.discard(self)
            self._places.turns.release()


class Once(Generic[T]):
    """A value that is taken once, so that nobody but its taker keeps it in memory."""

    def __init__(self, value: T) -> None:
        self._value: T | None = value

    def take(self) -> T:
        value, self._value = self._value, None
        assert value is not None, "it is taken once"
        return value


def _nothing() -> None:
    """Until there is a connection."""
