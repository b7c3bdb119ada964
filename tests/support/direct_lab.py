"""What tests do with the lab of the transport `direct`: readers in the background, their texts, restarts."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp

from devtools.event_readers import StreamReader
from devtools.process import TokenstreamProcess
from support.waiting import eventually


@asynccontextmanager
async def reading(*readers: StreamReader) -> AsyncIterator[None]:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        tasks = [asyncio.create_task(reader.run(session)) for reader in readers]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                if not task.cancelled():
                    task.result()


async def all_have(
    readers: list[StreamReader], expected: Mapping[str, Mapping[str, str]], deadline: float = 90.0
) -> None:
    """Wait until every reader has every text, by its SHA-256."""

    def look() -> bool:
        for reader in readers:
            found = reader.texts(set(expected))
            missing = {key for key in expected if found.get(key) != expected[key]}
            assert not missing, (
                f"{len(missing)} of {len(expected)} differ, e.g. {sorted(missing)[:3]}: {reader.statuses}"
            )
        return True

    await eventually(look, deadline=deadline, every=0.2)


async def restarted(process: TokenstreamProcess) -> None:
    """Killed without warning, and started again on the same port."""
    await process.kill()
    await process.start()
    await process.ready()
