"""A block that can be left from outside: what anyio calls a cancel scope, on asyncio alone."""

import asyncio
from typing import Final

AGAIN_SECONDS: Final = 1.0
"""Code in the block may swallow a cancellation, as some clients do while they close. It is delivered again until the block is left."""


class Scope:
    """`enter` and `leave` around a block of one task; `cancel` leaves it.

    `cancel` cancels the task that entered, at the place in the block where it waits; `leave` takes that back, and says whether the
    CancelledError on its way out is this one alone. It counts as `asyncio.timeout` does (`Task.uncancel`), so that scopes, timeouts and task
    groups may stand in each other, and a cancellation by anybody else is never absorbed. A block that swallows it is cancelled again.
    """

    __slots__ = ("_before", "_delivery", "_requests", "_task", "cancelled")

    def __init__(self) -> None:
        self.cancelled = False
        """Whether `cancel` was called between `enter` and `close`."""
        self._task: asyncio.Task[object] | None = None
        self._before = 0
        self._requests = 0
        self._delivery: asyncio.Handle | None = None

    def enter(self) -> None:
        """Called by the task that is to be cancelled."""
        self._task = asyncio.current_task()
        self._before = 0 if self._task is None else self._task.cancelling()

    def cancel(self) -> None:
        """Have the block left as soon as it waits. Does nothing before `enter`, after `close`, or a second time."""
        if self._task is None or self.cancelled:
            return
        self.cancelled = True
        # Not at once: the task that runs now may be the one to be cancelled, and have left the block before it waits again.
        self._delivery = asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._delivery = None
        if self._task is not None and not self._task.done():
            self._requests += 1
            self._task.cancel()
            self._delivery = asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._deliver)

    def check(self) -> None:
        """Raises CancelledError if the block is to be left: code that caught it once does not go on."""
        if self.cancelled and self._task is not None:
            raise asyncio.CancelledError

    def close(self) -> None:
        """Nothing is cancelled any more. What was delivered is still taken back by `leave`."""
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None
        if not self._requests:
            self._task = None

    def leave(self, error: BaseException | None) -> bool:
        """Whether `error`, which ends the block, is to be absorbed. Called once, by the task that entered."""
        task, self._task = self._task, None
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None
        if task is None or not self.cancelled:
            return False
        left = task.cancelling()
        for _ in range(self._requests):
            left = task.uncancel()
        ours = left <= self._before and task is asyncio.current_task()
        return ours and isinstance(error, asyncio.CancelledError)
