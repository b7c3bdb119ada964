"""Retries: one policy, with jitter, a cap and a counter."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from processor.core.backoff import Backoff

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


class Retry:
    """The failures in a row of one operation. `chance` gives numbers in [0, 1); `count` is called for each retry."""

    __slots__ = ("_chance", "_count", "_policy", "attempt")

    def __init__(self, policy: Backoff, chance: Callable[[], float], count: Callable[[], None]) -> None:
        self._policy = policy
        self._chance = chance
        self._count = count
        self.attempt = 0
        """How often in a row the operation failed and was tried again."""

    def succeeded(self) -> None:
        """The next failure is the first of a row."""
        self.attempt = 0

    def delay(self, policy: Backoff | None = None) -> float:
        """Counts one more failure. Returns the seconds to wait, by another policy than the usual one if it is given."""
        delay = (policy or self._policy).delay(self.attempt, self._chance())
        self.attempt += 1
        self._count()
        return delay

    async def pause(self) -> None:
        """Waits as long as is due after one more failure."""
        await asyncio.sleep(self.delay())

    async def until_done(
        self, operation: Callable[[], Awaitable[T]], on: type[E] | tuple[type[E], ...], failed: Callable[[E, int], None]
    ) -> T:
        """Returns what `operation` returns, which is tried again after every `on`; anything else it raises ends this.

        `failed` is called after each failure, with the number of retries before it.
        """
        while True:
            try:
                result = await operation()
            except on as error:
                failed(error, self.attempt)
            else:
                self.succeeded()
                return result
            await self.pause()
