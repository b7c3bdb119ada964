"""The timers of a partition: one heap for all its responses.

A timer that decides something (a gap given up, an abandonment, a cancel that no stop follows) does not fire when its time is up, but once the
partition has been consumed to an end offset that was read after its deadline. So a paused or lagging partition never
gives up what waits unread in Kafka.
"""

import heapq
from enum import Enum, auto

from processor.core.response import Response, Timed

END_OFFSET_SECONDS = 5.0
"""An end offset that is not reached within this time is read again: the log may have lost its end since."""


class Kind(Enum):
    GAP = auto()
    IDLE = auto()
    CANCEL = auto()
    SNAPSHOT = auto()
    FINISH = auto()
    """Every choice of a response in OpenAI's format has finished."""


Due = tuple[float, Kind, Response]


class Timers:
    __slots__ = ("_asked", "_count", "_doubted", "_heap", "_overdue", "_read_at", "_reading", "caught_up_at")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Kind, Timed]] = []
        self._count = 0
        self._overdue: list[Due] = []
        self._reading: tuple[float, int] | None = None
        self._read_at = float("-inf")
        """When an end offset was read last."""
        self._doubted = False
        """Whether the one that is waited for is to be read again."""
        self._asked = False
        self.caught_up_at = float("-inf")
        """Up to when the partition is known to have been consumed: when the newest end offset that was reached was read."""

    def arm(self, deadline: float, kind: Kind, response: Response) -> None:
        self._count += 1
        heapq.heappush(self._heap, (deadline, self._count, kind, response.know_timers()))

    @staticmethod
    def forget(response: Response) -> None:
        """Its timers do nothing any more, and keep nothing of it in memory until they are due."""
        response.forget_timers()

    def next_wake(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float) -> list[Due]:
        """Timers whose time is up. Those that decide something come back through `confirmed` instead."""
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
        """Whether overdue timers, or whoever asked, wait for an end offset to be read.

        One reading is in use at a time: were it replaced by ever newer ones, a partition that always lags a little
        would never reach it.
        """
        return self._doubted or ((bool(self._overdue) or self._asked) and self._reading is None)

    def ask_for_end(self) -> None:
        """Have an end offset read although no timer waits for one."""
        self._asked = True

    def end_offset(self, read_at: float, offset: int) -> None:
        """The partition's end offset, from a request sent at `read_at`. One that is smaller shows that the log lost its end."""
        self._read_at, self._doubted = read_at, False
        if self._reading is None or offset < self._reading[1]:
            self._reading = (read_at, offset)

    def confirmed(self, position: int) -> list[Due]:
        """Overdue timers that may decide now, the partition being consumed to `position`."""
        if self._reading is None or position < self._reading[1]:
            return []
        read_at, self._reading = self._reading[0], None
        self.caught_up_at, self._asked, self._doubted = read_at, False, False
        fired = [due for due in self._overdue if due[0] <= read_at]
        self._overdue = [due for due in self._overdue if due[0] > read_at]
        return fired

    def __len__(self) -> int:
        return len(self._heap) + len(self._overdue)
