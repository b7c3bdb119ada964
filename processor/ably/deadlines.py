"""Deadlines for many answers with one timer for all: a timer for each was a tenth of the cost of a message."""

import asyncio
from typing import Any

from processor.ably.exchange import set_error

STEP = 0.25
"""Seconds by which a deadline may come late."""


class Deadlines:
    """Ends waits for futures, of which next to none is late."""

    __slots__ = ("_due", "_timer")

    def __init__(self) -> None:
        self._due: dict[asyncio.Future[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def set(self, answer: asyncio.Future[Any], seconds: float) -> None:
        """Gives the future a TimeoutError if it is not done after `seconds`, or up to a `STEP` later."""
        loop = answer.get_loop()
        self._due[answer] = loop.time() + seconds
        if self._timer is None:
            self._timer = loop.call_later(STEP, self._check, loop)

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for answer, due in self._due.items():
            if due <= now:
                set_error(answer, TimeoutError())
        self._due = {answer: due for answer, due in self._due.items() if not answer.done()}
        self._timer = loop.call_later(STEP, self._check, loop) if self._due else None
