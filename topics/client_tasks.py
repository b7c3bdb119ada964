"""aiokafka's own tasks of a consumer: whether they still run, and how they end.

One that an error ended is never started again, and nothing raises.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any


def refreshes_metadata(consumer: Any) -> bool:
    """False if the client asks for no metadata any more, so that it never learns of another leader."""
    return not _has_ended(getattr(consumer, "_client", None), "_sync_task")


def reads(consumer: Any) -> bool:
    """False if nothing is fetched any more, or will not be after the next change of a leader."""
    return refreshes_metadata(consumer) and not _has_ended(getattr(consumer, "_fetcher", None), "_fetch_task")


async def stop_consumer(consumer: Any) -> None:
    """Stops a consumer and closes its connections. Raises what its `stop` raises, and no CancelledError but the caller's."""
    await finish_stop(consumer.stop(), consumer._client)  # noqa: SLF001


async def finish_stop(stop: Coroutine[Any, Any, None], client: Any) -> None:
    """As `stop_consumer`, of its `stop` and its client.

    aiokafka cancels its fetches as it stops, and raises that where one waits to be tried again, as all do while no
    broker answers. Whoever awaits it would be taken for cancelled, and end without an error.
    """
    stopping = asyncio.ensure_future(stop)
    stopping.add_done_callback(look_at)
    try:
        await asyncio.wait({stopping})
    finally:
        stopping.cancel()
    if stopping.cancelled():
        await client.close()
    else:
        stopping.result()


def look_at(task: asyncio.Future[Any]) -> None:
    """Looks at the error of a task that nobody may ask for: else asyncio would log it."""
    if not task.cancelled():
        task.exception()


def _has_ended(owner: Any, name: str) -> bool:
    task = getattr(owner, name, None)
    return task is not None and bool(task.done())
