"""The wait of a worker's task between two iterations."""

import asyncio
from math import inf


class Alarm:
    """Wakes the one task that waits for it, once its time is up or when it is rung."""

    __slots__ = ("_rung", "due_at")

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self.due_at = -inf
        """When the task wakes by itself; minus infinity while it does not wait."""

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, now: float, seconds: float) -> None:
        self.due_at = now + seconds
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            pass
        self.due_at = -inf
        self._rung.clear()
