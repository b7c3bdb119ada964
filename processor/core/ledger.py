"""Tracks which consumed offsets are not yet in a committed record.

Offsets are kept as runs: a run is its first offset and the highest sequence number among its records.
A run is covered when a committed record reaches that number. The committable offset is therefore never past an
uncovered record.
It may lag by one run, which a successor drops as repeats: one fetched batch, or an eighth of the uncovered batches of
a response that has many.
"""

from typing import Final

from processor.core.items import NOTHING, appended

MOST_RUNS: Final = 16
"""The maximum number of runs of a response, besides those that a record being written covers.

An open response has one batch per fetch between two snapshots, and each run costs memory.
"""


class Runs:
    """The uncovered runs of one response, in offset order."""

    __slots__ = ("_batch", "_highest", "_offsets", "_promised", "_room", "_stride")

    def __init__(self) -> None:
        self._offsets: list[int] = NOTHING
        self._highest: list[int] = NOTHING
        self._batch = -1
        self._stride = 1
        """The number of batches in a run. It is the same for all runs, so that no run holds back a large share of them.
        """
        self._room = 0
        """The number of batches that the last run can still take."""
        self._promised = 0
        """How many runs, from the first, are covered by a record that is being written."""

    def add(self, batch: int, offset: int, seq: int) -> None:
        """Note a consumed record. `batch` numbers the fetched batch it came with; offsets rise."""
        if len(self._offsets) > self._promised and (batch == self._batch or self._room):
            self._room -= batch != self._batch
            self._batch = batch
            self._highest[-1] = max(self._highest[-1], seq)
            return
        if len(self._offsets) - self._promised == MOST_RUNS:
            self._merge()
        self._batch = batch
        self._room = self._stride - 1
        self._offsets, self._highest = appended(self._offsets, offset), appended(self._highest, seq)

    def _merge(self) -> None:
        """Merges each pair of runs. The merged run is uncovered for as long as either run was."""
        kept, highest = self._promised, self._highest[self._promised :]
        self._highest[kept:] = [max(pair) for pair in zip(highest[::2], highest[1::2], strict=True)]
        self._offsets[kept:] = self._offsets[kept::2]
        self._stride *= 2

    def first_uncovered(self, seq: int) -> int | None:
        """Returns the first offset that a record covering up to `seq` leaves uncovered."""
        for offset, highest in zip(self._offsets, self._highest, strict=True):
            if highest > seq:
                return offset
        return None

    def promise(self, seq: int) -> None:
        """Notes that a record covering up to `seq` is being written, and that an offset past what it covers may be
        committed with it.

        Closes the covered runs: a run that took another record would be uncovered again, and the offset would have to
        go back.
        """
        self._promised = self._covered_by(seq)

    def cover(self, seq: int) -> None:
        """Removes the runs that are covered by the committed record up to `seq`."""
        covered = self._covered_by(seq)
        self._promised = 0
        if covered == len(self._offsets):
            self._offsets, self._highest = NOTHING, NOTHING
        elif covered:
            del self._offsets[:covered], self._highest[:covered]
        if len(self._offsets) <= 1:
            self._stride, self._room = 1, 0

    def _covered_by(self, seq: int) -> int:
        for index, highest in enumerate(self._highest):
            if highest > seq:
                return index
        return len(self._highest)

    def __len__(self) -> int:
        return len(self._offsets)
