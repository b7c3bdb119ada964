"""A block that can be left from outside: the equivalent of anyio's cancel scope, for asyncio."""

import asyncio
from typing import Final

AGAIN_SECONDS: Final = 1.0
"""Code in the block may swallow a cancellation, as some clients do while they close. It is delivered again until the block is left."""


class Scope:
    """Leaves a block of one task on `cancel`. Call `enter` before the block and `leave` after it.

    `cancel` cancels the task that entered, where it waits in the block.
    `leave` reverts that, and returns whether the CancelledError that leaves the block is only this one.
    It counts as `asyncio.timeout` does (`Task.uncancel`): scopes, timeouts and task groups can be nested, and a
    cancellation by anyone else is never absorbed. A block that swallows the cancellation is cancelled again.
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
        """Notes the task that `cancel` cancels: the current one."""
        self._task = asyncio.current_task()
        self._before = 0 if self._task is None else self._task.cancelling()

    def cancel(self) -> None:
        """Leaves the block at its next wait. Does nothing before `enter`, after `close`, or a second time."""
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
        """Stops cancelling. `leave` still reverts a delivered cancellation; one that was not delivered never was."""
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None
        if self._task is not None and not self._requests:
            self._task = None
            self.cancelled = False

    def leave(self, error: BaseException | None) -> bool:
        """Returns True if `error`, which ends the block, must be absorbed. Called once, by the task that entered."""
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
