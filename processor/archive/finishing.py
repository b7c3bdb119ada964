"""Runs writes to their end, even if the caller is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from topics.client_tasks import look_at

T = TypeVar("T")

SETTLE_SECONDS = 60.0


class Finishing:
    """Runs each write in a task of its own. A cancelled caller leaves; the write commits or rolls back, and is
    awaited by `settle`.

    The store's own limits bound how many run: each write first waits for its turn there.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, write: Coroutine[Any, Any, T]) -> T:
        """Returns or raises what the write does."""
        task = asyncio.get_running_loop().create_task(write)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(look_at)
        return await asyncio.shield(task)

    async def settle(self) -> None:
        """Waits for the writes whose callers left, at most `SETTLE_SECONDS`."""
        if self._running:
            await asyncio.wait(self._running, timeout=SETTLE_SECONDS)
