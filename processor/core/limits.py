"""The bounds of a partition. Each is a setting, or a fixed number with its reason beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

MAX_EARLY_TOKENS = 4096
"""The maximum number of early tokens of a response; above it the oldest gap is declared at once."""
REMEMBERED_FINALS = 10_000
"""Finished responses a partition remembers exactly, at most: about 0.5 KB each."""
PROCESS_FINALS = 120_000
"""The same for all partitions of a process."""
REMEMBERED_ENDS = 2_000_000
"""Ids of ended responses kept after that: 16 bytes each."""
FRAME_OVERHEAD = 2_048
"""Room for what surrounds a frame's data: keys, client id, header names, the numbers in headers and id."""
REWRITE_DISTANCE = 5_000
"""An open response whose newest record is this many records behind is written again, so that `restore` advances."""
MIN_FRAME_TEXT = 256
"""A frame refused as too large is cut smaller, down to this many encoded bytes of text."""
STOP_ROOM = 16_384
"""Encoded bytes of usage and error a stop frame carries at most; 64 parts with their names and hashes need the rest."""
RECORD_OVERHEAD = 1_024
"""Room a response record needs beside its texts, metadata and usage."""
PENDING_COST = 200
"""Bytes counted for a waiting token beside its text: the consumed record kept with it."""
RESPONSE_COST = 8_192
"""Bytes counted for a response whose start or end waits to be published: its state, its channel, and the sending task.
"""

START_LESS_COST = 3_072
"""Bytes counted for a response whose start has not arrived, besides its records."""


def allowances(live: Sequence[int], most: int) -> list[int]:
    """Returns how many live responses each partition of a process may have, out of `most`: its current ones, and a
    share of the rest.

    The share is at least even: a full process makes room for a partition with fewer responses by ending the idlest of
    those with most.
    """
    partitions = max(1, len(live))
    free = max(0, most - sum(live)) // partitions
    level = _level(live, most)
    return [max(1, most // partitions, min(count, level) + free) for count in live]


def _level(counts: Sequence[int], most: int) -> int:
    """Returns the level to which counts are cut so that their sum is at most `most`."""
    rest = most
    for number, count in enumerate(sorted(counts)):
        even = rest // (len(counts) - number)
        if count > even:
            return even
        rest -= count
    return max(counts, default=0)


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds in seconds, bytes and numbers. `share` derives the bounds of one partition from those of the process."""

    snapshot_interval: float = 5.0
    gap_timeout: float = 2.0
    idle_timeout: float = 120.0
    finished_ttl: float = 300.0
    cancel_timeout: float = 10.0
    buffered: int = 64 * 1024 * 1024
    transcript: int = 256 * 1024 * 1024
    response: int = 4 * 1024 * 1024
    finals: int = REMEMBERED_FINALS
    ended: int = REMEMBERED_ENDS
    open_responses: int = 50_000
    whole: int | None = None
    """`buffered` of the whole process: the same for every owner of a partition, however it is split. None if it is
    not split.
    """
    frame_bytes: int = 60 * 1024
    """The largest message, with its id, name, headers and data. A relay uses the value in the profile of its realtime
    service.
    """

    def share(self, partitions: int) -> "Limits":
        """Returns the bounds of each of this many partitions. `open_responses` is not split: see `allowances`."""
        count = max(1, partitions)
        return replace(
            self,
            buffered=self.buffered // count,
            transcript=self.transcript // count,
            finals=max(1, min(REMEMBERED_FINALS, self.finals // count)),
            ended=self.ended // count,
            whole=self.buffered,
        )

    @property
    def low_water(self) -> int:
        return self.buffered // 2

    @property
    def whole_buffered(self) -> int:
        """Of the whole process."""
        return self.buffered if self.whole is None else self.whole

    @property
    def whole_low_water(self) -> int:
        """Of the whole process."""
        return self.whole_buffered // 2
