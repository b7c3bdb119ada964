"""Which consumed offsets are not yet inside a committed record.

Offsets are kept as runs, not one by one: a run is (its first offset, the highest sequence number among its records).
A run is covered when a committed record reaches that number. The committable offset is therefore never past an
uncovered record; it may lag by less than one fetched batch, which a successor drops as repeats.
"""

from collections import deque


class Runs:
    """The uncovered runs of one response, in offset order."""

    __slots__ = ("_batch", "_runs")

    def __init__(self) -> None:
        self._runs: deque[list[int]] = deque()
        self._batch = -1

    def add(self, batch: int, offset: int, seq: int) -> None:
        """Note a consumed record. `batch` numbers the fetched batch it came with; offsets rise."""
        if batch == self._batch and self._runs:
            run = self._runs[-1]
            run[1] = max(run[1], seq)
        else:
            self._batch = batch
            self._runs.append([offset, seq])

    def first_uncovered(self, seq: int) -> int | None:
        """The first offset that a record covering up to `seq` leaves uncovered."""
        for offset, highest in self._runs:
            if highest > seq:
                return offset
        return None

    def cover(self, seq: int) -> None:
        """A record covering up to `seq` is committed."""
        while self._runs and self._runs[0][1] <= seq:
            self._runs.popleft()
        if not self._runs:
            self._batch = -1

    def __len__(self) -> int:
        return len(self._runs)
