"""What tests of every area wait by. Import it as `from support.waiting import eventually`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from devtools.waiting import eventually, slowness

__all__ = ["comes_to", "eventually", "slowness", "until", "working"]


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
