"""Serials: positions in the order of everything published, as strings that sort."""

import re


class Serials:
    """`<14 digits of milliseconds>-<3 digits>@<series>`. Strictly growing, whatever the clock does."""

    __slots__ = ("_counter", "_ms", "_pattern", "series")

    def __init__(self, series: str) -> None:
        self.series = series
        self._ms = 0
        self._counter = 0
        self._pattern = re.compile(r"\d{14}-\d{3}@" + re.escape(series))

    def next(self, ms: int) -> str:
        if ms > self._ms:
            self._ms, self._counter = ms, 0
        elif self._counter < 999:
            self._counter += 1
        else:
            self._ms, self._counter = self._ms + 1, 0
        return self.latest()

    def latest(self) -> str:
        """Returns the position at or before which everything so far is."""
        return f"{self._ms:014d}-{self._counter:03d}@{self.series}"

    def made(self, position: str) -> bool:
        """Whether the position is of this series, so that it can be compared with others."""
        return self._pattern.fullmatch(position) is not None


def position_of(serial: str) -> str:
    """The channel position of a message serial (`<position>:<index>`) or of a position."""
    return serial.partition(":")[0]
