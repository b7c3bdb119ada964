"""Which consumed offsets are not yet inside a committed record.

Offsets are kept as runs, not one by one: a run is (its first offset, the highest sequence number among its records).
A run is covered when a committed record reaches that number. The committable offset is therefore never past an
uncovered record; it may lag by one run, which a successor drops as repeats: a fetched batch, or, where a response has
many of them uncovered, an eighth of those.
"""

from typing import Final

MOST_RUNS: Final = 16
"""Kept per response, beside those a record being written covers: an open one has as many batches between two snapshots as
there are fetches, and each run costs memory.
"""


class Runs:
    """The uncovered runs of one response, in offset order."""

    __slots__ = ("_batch", "_highest", "_offsets", "_promised", "_room", "_stride")

    def __init__(self) -> None:
        self._offsets: list[int] = []
        self._highest: list[int] = []
        self._batch = -1
        self._stride = 1
        """Batches a run takes. All take the same, so that no run, however many there were, holds back much of them."""
        self._room = 0
        """Batches that the last run still takes."""
        self._promised = 0
        """The first so many are covered by a record that is being written."""

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
        self._offsets.append(offset)
        self._highest.append(seq)

    def _merge(self) -> None:
        """Make one run of every two: it is uncovered for as long as either was."""
        kept, highest = self._promised, self._highest[self._promised :]
        self._highest[kept:] = [max(pair) for pair in zip(highest[::2], highest[1::2], strict=True)]
        self._offsets[kept:] = self._offsets[kept::2]
        self._stride *= 2

    def first_uncovered(self, seq: int) -> int | None:
        """The first offset that a record covering up to `seq` leaves uncovered."""
        for offset, highest in zip(self._offsets, self._highest, strict=True):
            if highest > seq:
                return offset
        return None

    def promise(self, seq: int) -> None:
        """A record covering up to `seq` is being written, and an offset past what it covers may be committed with it.

        So no run that it covers takes anything more: it would be uncovered again, and the offset have to go back.
        """
        self._promised = self._covered_by(seq)

    def cover(self, seq: int) -> None:
        """A record covering up to `seq` is committed."""
        covered = self._covered_by(seq)
        self._promised = 0
        if covered:
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
