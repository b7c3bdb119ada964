"""Waits for a condition, with a deadline that grows with the load of the machine."""

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

T = TypeVar("T")

MOST_SLOWNESS = 3.0


def slowness() -> float:
    """Returns how many times as long as on an idle machine things take now: processes that want to run, per processor."""
    return min(MOST_SLOWNESS, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


@overload
async def eventually(look: Callable[[], Awaitable[T]], *, deadline: float = ..., every: float = ...) -> T: ...
@overload
async def eventually(look: Callable[[], T], *, deadline: float = ..., every: float = ...) -> T: ...
async def eventually(look: Callable[[], T | Awaitable[T]], *, deadline: float = 10.0, every: float = 0.02) -> T:
    """Calls `look` until what it returns is true, and returns that.

    `look` may be async, and may raise AssertionError for "not yet". After `deadline` seconds (of an idle machine: a busy one
    gets more) the last AssertionError is raised again, or one that shows the last value.
    """
    until = time.monotonic() + deadline * slowness()
    while True:
        failure: AssertionError | None = None
        value: T | None = None
        try:
            seen = look()
            value = await seen if inspect.isawaitable(seen) else seen
        except AssertionError as not_yet:
            failure = not_yet
        if value:
            return value
        if time.monotonic() > until:
            raise failure or AssertionError(f"Still {value!r} after {deadline} s, from {look!r}.")
        await asyncio.sleep(every)
