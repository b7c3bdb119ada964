"""What tests of every area share. Import it as `from support.waiting import eventually`."""

import asyncio
import inspect
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar, overload

T = TypeVar("T")

WORDS = (
    "Hello ",
    "wörld ",
    "日本語",
    "👩‍👩‍👧 ",
    "\U0001f600",
    "code()\n",
    '"quoted" ',
    "\\",
    "שלום ",
    "a",
    " the ",
    "né",
)
"""Of what tokens are made: scripts, surrogate pairs, quotes and escapes."""
KINDS = {"text": "text", "reasoning": "reasoning", "call_1": "tool_call"}
"""Parts of a response, and their kinds."""


MOST_SLOWNESS = 3.0


def slowness() -> float:
    """How many times as long as on an idle machine things take now: processes that want to run, for each processor."""
    return min(MOST_SLOWNESS, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


@overload
async def eventually(look: Callable[[], Awaitable[T]], *, deadline: float = ..., every: float = ...) -> T: ...
@overload
async def eventually(look: Callable[[], T], *, deadline: float = ..., every: float = ...) -> T: ...
async def eventually(look: Callable[[], T | Awaitable[T]], *, deadline: float = 10.0, every: float = 0.02) -> T:
    """Call `look` until what it returns is true, and return that.

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


async def comes_to(wanted: object, look: Callable[[], Awaitable[object]], *, deadline: float = 60.0) -> None:
    """Waits until `look` returns `wanted`. The AssertionError after `deadline` seconds shows how the last value differs."""

    async def is_there() -> bool:
        assert await look() == wanted
        return True

    await eventually(is_there, deadline=deadline, every=0.2)


async def until(condition: Callable[[], object], within: float = 40.0) -> None:
    """Waits for the condition by the loop's own clock, which may be virtual."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while not condition():
        assert loop.time() < deadline, f"not within {within} s: {condition}"
        await asyncio.sleep(0.02)


class Works(Protocol):
    """A way to the realtime service: see `processor.ports.realtime.Link`."""

    async def run(self) -> None: ...
    async def connected(self) -> None: ...


@asynccontextmanager
async def working(link: Works) -> AsyncIterator[None]:
    """Entered once it is connected; it runs until left."""
    running = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(20 * slowness()):
            await link.connected()
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
