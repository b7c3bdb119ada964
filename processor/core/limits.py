"""The bounds of a partition, as values. Each is a setting, or a fixed number with the reason beside it."""

from dataclasses import dataclass

MAX_EARLY_TOKENS = 4096
"""Early tokens held per response; above it the oldest gap is declared at once."""
REMEMBERED_FINALS = 10_000
"""Finished responses a partition remembers at most, beyond those the committed offset still needs."""
FRAME_BYTES = 65_536
"""Ably's limit for one message, with its id, name, headers and data."""
FRAME_OVERHEAD = 2_048
"""Room for what surrounds a frame's data: keys, client id, header names, the numbers in headers and id."""
REWRITE_DISTANCE = 5_000
"""An open response whose newest record lies this many records back is written again, so that `restore` moves on."""
MIN_FRAME_TEXT = 256
"""A frame refused as too large is cut smaller, down to this many encoded bytes of text."""
STOP_ROOM = 16_384
"""Encoded bytes of usage and error a stop frame carries at most; 64 parts with their names and hashes need the rest."""
RECORD_OVERHEAD = 1_024
"""Room a response record needs beside its texts, metadata and usage."""
PENDING_COST = 200
"""Bytes counted for a waiting token beside its text: the consumed record kept with it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and bytes. `buffered` and `transcript` are one partition's share of the whole process's budget."""

    snapshot_interval: float = 5.0
    gap_timeout: float = 2.0
    idle_timeout: float = 120.0
    finished_ttl: float = 300.0
    buffered: int = 64 * 1024 * 1024
    transcript: int = 256 * 1024 * 1024
    response: int = 4 * 1024 * 1024

    @property
    def low_water(self) -> int:
        return self.buffered // 2
