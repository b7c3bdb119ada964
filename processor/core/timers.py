"""The timers of a partition: one heap for all its responses.

A timer that decides something (a gap given up, an abandonment, a cancel without a stop) does not fire when its time
is up.
It fires once the partition has been consumed to an end offset that was read after its deadline.
So a paused or lagging partition never gives up what is unread in Kafka.
"""

import heapq
from enum import Enum, auto

from processor.core.response import Response, Timed

END_OFFSET_SECONDS = 5.0
"""Seconds after which an end offset that is not reached is read again: the log may have lost its end since."""

SNAPSHOTS_TOGETHER = 16
SNAPSHOT_BYTES_TOGETHER = 256 * 1024
"""Responses whose snapshots share a time, and their bytes by then: encoding them takes about a millisecond, in which
nothing else is done.
"""


class Kind(Enum):
    GAP = auto()
    IDLE = auto()
    CANCEL = auto()
    SNAPSHOT = auto()
    FINISH = auto()
    """Every choice of a response in OpenAI's format has finished."""


Due = tuple[float, Kind, Response]


class SnapshotTimes:
    """When changed responses of a partition are written: several at one time, because they share a transaction then."""

    __slots__ = ("_at", "_bytes", "_interval", "_sharing")

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._at = float("-inf")
        self._sharing = 0
        self._bytes = 0

    def next(self, now: float, size: int) -> float:
        """Returns the time for a response of `size` bytes that changes now: after the interval, or half of it at least."""
        if not self._has_room(size) or self._at < now + self._interval / 2:
            self._at, self._sharing, self._bytes = now + self._interval, 0, 0
        self._sharing += 1
        self._bytes += size
        return self._at

    def _has_room(self, size: int) -> bool:
        return self._sharing < SNAPSHOTS_TOGETHER and self._bytes + size <= SNAPSHOT_BYTES_TOGETHER


class Timers:
    __slots__ = ("_asked", "_count", "_doubted", "_heap", "_overdue", "_read_at", "_reading", "caught_up_at")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Kind, Timed]] = []
        self._count = 0
        self._overdue: list[Due] = []
        self._reading: tuple[float, int] | None = None
        self._read_at = float("-inf")
        """When an end offset was last read."""
        self._doubted = False
        """Whether the awaited end offset must be read again."""
        self._asked = False
        self.caught_up_at = float("-inf")
        """The time up to which the partition is known to be consumed: when the newest reached end offset was read."""

    def arm(self, deadline: float, kind: Kind, response: Response) -> None:
        self._count += 1
        heapq.heappush(self._heap, (deadline, self._count, kind, response.know_timers()))

    @staticmethod
    def forget(response: Response) -> None:
        """Detaches a response from its timers: they do nothing, and keep none of its memory until they are due."""
        response.forget_timers()

    def next_wake(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float) -> list[Due]:
        """Returns the timers whose time is up. Timers that decide something are returned by `confirmed` instead."""
        due: list[Due] = []
        self._doubted = self._reading is not None and now - self._read_at >= END_OFFSET_SECONDS
        while self._heap and self._heap[0][0] <= now:
            deadline, _, kind, timed = heapq.heappop(self._heap)
            response = timed.response
            if response is None:
                continue
            entry = (deadline, kind, response)
            (due if kind is Kind.SNAPSHOT else self._overdue).append(entry)
        return due

    @property
    def wants_end_offset(self) -> bool:
        """Whether overdue timers, or a call of `ask_for_end`, wait for an end offset to be read.

        One reading is used at a time. If newer readings replaced it, a partition that always lags a little would
        never reach it.
        """
        return self._doubted or ((bool(self._overdue) or self._asked) and self._reading is None)

    def ask_for_end(self) -> None:
        """Requests an end offset although no timer waits for one."""
        self._asked = True

    def end_offset(self, read_at: float, offset: int) -> None:
        """Sets the partition's end offset, from a request sent at `read_at`. A smaller one shows that the log lost
        its end.
        """
        self._read_at, self._doubted = read_at, False
        if self._reading is None or offset < self._reading[1]:
            self._reading = (read_at, offset)

    def confirmed(self, position: int) -> list[Due]:
        """Returns the overdue timers that may decide now that the partition is consumed to `position`."""
        if self._reading is None or position < self._reading[1]:
            return []
        read_at, self._reading = self._reading[0], None
        self.caught_up_at, self._asked, self._doubted = read_at, False, False
        fired = [due for due in self._overdue if due[0] <= read_at]
        self._overdue = [due for due in self._overdue if due[0] > read_at]
        return fired

    def __len__(self) -> int:
        return len(self._heap) + len(self._overdue)
