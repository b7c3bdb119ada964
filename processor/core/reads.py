"""Notes when each offset was read, for a partition's oldest unsent token and for the time a token waited here."""

from bisect import bisect_right
from collections.abc import Iterable

from processor.core.framer import Frame
from processor.core.response import Response, Run, Token

MOST_MARKS = 2_048


class ReadTimes:
    """Keeps one mark per fetch. Of old marks every other one is dropped, repeatedly.

    The answer for an offset is therefore late by at most a small share of its age, and never early.
    """

    __slots__ = ("_positions", "_times")

    def __init__(self) -> None:
        self._positions: list[int] = []
        self._times: list[float] = []

    def note(self, position: int, now: float) -> None:
        """Notes that all offsets below `position` that were not noted before were read at `now`."""
        self._positions.append(position)
        self._times.append(now)
        if len(self._positions) > MOST_MARKS:
            del self._positions[: MOST_MARKS // 2 : 2]
            del self._times[: MOST_MARKS // 2 : 2]

    def at(self, offset: int) -> float | None:
        """Returns the time, or None for an offset that this owner did not read."""
        index = bisect_right(self._positions, offset)
        return self._times[index] if index < len(self._times) else None


def oldest_offset(in_flight: Iterable[Frame], responses: Iterable[Response]) -> int | None:
    """Returns the oldest read time of the unacknowledged tokens, including the early ones. Checks one token per
    response.
    """
    offsets = [frame.oldest_offset for frame in in_flight if frame.oldest_offset is not None]
    for response in responses:
        for item in response.queue:
            if isinstance(item, Run | Token):
                offsets.append(item.raw.offset)
                break
        if response.early:
            offsets.append(next(iter(response.early.values())).raw.offset)
    return min(offsets, default=None)
