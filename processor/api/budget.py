"""Bounds what is answered at one time: requests, and bytes of answers in memory. Requests beyond a bound get 503."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from processor.api.errors import overloaded

WAIT_SECONDS = 5.0
"""How long a request waits for bytes before it is refused."""


@dataclass(slots=True)
class BudgetShare:
    """The bytes that one request holds."""

    budget: "Budget"
    size: int

    async def grow(self, size: int) -> None:
        """Reserves `size` more bytes, at most the whole budget. Raises ApiError 503 if they do not become free in time."""
        more = self.budget.most(size)
        await self.budget.acquire(more)
        self.size += more

    def shrink(self, size: int) -> None:
        """Gives back what exceeds `size`: the answer turned out smaller."""
        if size < self.size:
            self.budget.give_back(self.size - size)
            self.size = size


class Budget:
    """Requests get their bytes in the order in which they ask. A request for more than the whole budget gets the whole budget."""

    def __init__(self, *, max_bytes: int, max_requests: int, wait_seconds: float = WAIT_SECONDS) -> None:
        self._max_bytes = max_bytes
        self._free = max_bytes
        self._max_requests = max_requests
        self._wait_seconds = wait_seconds
        self._requests = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def free(self) -> int:
        return self._free

    @asynccontextmanager
    async def reserve(self, size: int) -> AsyncIterator[BudgetShare]:
        """Counts a request, and reserves its first bytes. Who reserves nothing waits for nobody. Raises ApiError 503 above the number of requests, or where the bytes do not become free in time."""
        if self._requests >= self._max_requests:
            raise overloaded("The server is answering as many requests as it may (API_MAX_REQUESTS). Try again later.")
        self._requests += 1
        try:
            share = BudgetShare(self, 0)
            await share.grow(size)
            try:
                yield share
            finally:
                self.give_back(share.size)
        finally:
            self._requests -= 1

    def give_back(self, size: int) -> None:
        self._free += size
        self._admit()

    def most(self, size: int) -> int:
        return min(size, self._max_bytes)

    async def acquire(self, size: int) -> None:
        if not size or (not self._waiting and size <= self._free):
            self._free -= size
            return
        place = (size, asyncio.get_running_loop().create_future())
        self._waiting.append(place)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await place[1]
        except TimeoutError:
            self._leave(place)
            raise overloaded(
                "The answers being sent take all the memory they may (API_MAX_BUFFERED_BYTES). Try again later."
            ) from None
        except asyncio.CancelledError:
            self._leave(place)
            raise

    def _leave(self, place: tuple[int, asyncio.Future[None]]) -> None:
        """A place may have been given its bytes in the same moment as its request ended."""
        size, admitted = place
        if admitted.done() and not admitted.cancelled():
            self._free += size
        elif place in self._waiting:
            self._waiting.remove(place)
        self._admit()

    def _admit(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self._free):
            size, admitted = self._waiting.popleft()
            if not admitted.done():
                self._free -= size
                admitted.set_result(None)
