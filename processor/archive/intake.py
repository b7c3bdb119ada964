"""A queue of records that are read and not yet stored, bounded by count and bytes, and emptied in batches."""

import asyncio
from collections import deque
from dataclasses import dataclass

from processor.archive.batch import Arrival


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """A batch is complete with `records` or `bytes`, or `within` seconds after its first record came."""

    records: int = 500
    bytes: int = 16 * 1024 * 1024
    within: float = 0.05


class ArrivalQueue:
    """One reader, one taker. Holds at most two batches; above that `put` waits, and Kafka is the buffer."""

    def __init__(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._waiting: deque[Arrival] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()

    def __repr__(self) -> str:
        return f"Intake({len(self._waiting)} records, {self._bytes} bytes)"

    def __len__(self) -> int:
        return len(self._waiting)

    async def put(self, arrival: Arrival) -> None:
        """Waits while two batches are held. Cancelled, it has not put."""
        while len(self._waiting) >= 2 * self._limits.records or self._bytes >= 2 * self._limits.bytes:
            self._taken.clear()
            await self._taken.wait()
        self._waiting.append(arrival)
        self._bytes += arrival.size
        self._changed.set()

    async def next_batch(self) -> list[Arrival]:
        """At least one record; waits for it."""
        while not self._waiting:
            self._changed.clear()
            await self._changed.wait()
        try:
            async with asyncio.timeout(self._limits.within):
                while not self._complete:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
        return self._pop()

    @property
    def _complete(self) -> bool:
        return len(self._waiting) >= self._limits.records or self._bytes >= self._limits.bytes

    def _pop(self) -> list[Arrival]:
        batch: list[Arrival] = []
        size = 0
        while self._waiting and len(batch) < self._limits.records and size < self._limits.bytes:
            arrival = self._waiting.popleft()
            batch.append(arrival)
            size += arrival.size
        self._bytes -= size
        self._taken.set()
        return batch

    def clear(self) -> None:
        """Forget what was read: it was not acknowledged, and comes again."""
        self._waiting.clear()
        self._bytes = 0
        self._taken.set()
