"""When which offset was read: for a partition's oldest unsent token, and for how long a token waited here."""

from bisect import bisect_right
from collections.abc import Iterable

from processor.core.framer import Frame
from processor.core.response import Response, Run, Token

MOST_MARKS = 2_048


class ReadTimes:
    """One mark a fetch, not a token. Of what was read long ago every other mark is dropped, again and again: the answer
    for an offset is then up to a small share of its age too late, never too early.
    """

    __slots__ = ("_positions", "_times")

    def __init__(self) -> None:
        self._positions: list[int] = []
        self._times: list[float] = []

    def note(self, position: int, now: float) -> None:
        """All below `position` that was not noted before was read `now`."""
        self._positions.append(position)
        self._times.append(now)
        if len(self._positions) > MOST_MARKS:
            del self._positions[: MOST_MARKS // 2 : 2]
            del self._times[: MOST_MARKS // 2 : 2]

    def at(self, offset: int) -> float | None:
        """None for what was not read by this owner."""
        index = bisect_right(self._positions, offset)
        return self._times[index] if index < len(self._times) else None


def oldest_offset(in_flight: Iterable[Frame], responses: Iterable[Response]) -> int | None:
    """Of the tokens read and not acknowledged, the early ones too. Looks at one token a response."""
    offsets = [frame.oldest_offset for frame in in_flight if frame.oldest_offset is not None]
    for response in responses:
        for item in response.queue:
            if isinstance(item, Run | Token):
                offsets.append(item.raw.offset)
                break
        if response.early:
            offsets.append(next(iter(response.early.values())).raw.offset)
    return min(offsets, default=None)
