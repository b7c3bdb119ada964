"""Deadlines for many awaits with one timer for all: a timer for each was a tenth of the cost of a message."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")

STEP = 0.25
"""Seconds by which a deadline may come late."""


class Deadlines:
    """`asyncio.timeout` for many short awaits, of which next to none is late."""

    __slots__ = ("_due", "_late", "_timer")

    def __init__(self) -> None:
        self._due: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def within(self, seconds: float, awaited: Awaitable[T]) -> T:
        """Raises TimeoutError after `seconds`, or up to a `STEP` later, and then cancels what was awaited."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None, "only a task can be cancelled"
        cancelling = task.cancelling()
        self._due[task] = loop.time() + seconds
        if self._timer is None:
            self._timer = loop.call_later(STEP, self._check, loop)
        try:
            return await awaited
        except asyncio.CancelledError:
            if task in self._late and task.cancelling() - 1 <= cancelling:
                raise TimeoutError from None
            raise  # someone else wants it cancelled, too
        finally:
            del self._due[task]
            if task in self._late:
                self._late.discard(task)
                task.uncancel()

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task, due in self._due.items():
            if due <= now and task not in self._late:
                self._late.add(task)
                task.cancel()
        self._timer = loop.call_later(STEP, self._check, loop) if self._due else None
