"""The tasks that an aiokafka consumer runs by itself. One that has failed is silent: the consumer returns nothing new
from then on, and raises nothing.

aiokafka's internals that are used: the fetcher's routine, the client's task that learns of leaders.
"""

import asyncio
import contextlib
from typing import Any

from processor.kafka.options import STOP_DEADLINE


def has_ended(consumer: Any) -> bool:
    """Whether a task without which a started consumer cannot read on has ended."""
    return bool(consumer._fetcher._fetch_task.done() or consumer._client._sync_task.done())  # noqa: SLF001 - see above


async def stop_quietly(consumer: Any) -> None:
    """Stops a consumer, and closes its connections even if one of its tasks has failed. Takes seconds at most."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(STOP_DEADLINE):
            try:
                await consumer.stop()
            except Exception:  # noqa: BLE001 - the error of a task: the library raises it before it closes its client
                await _close(consumer._client)  # noqa: SLF001


async def _close(client: Any) -> None:
    task = client._sync_task  # noqa: SLF001
    if task is not None and task.done():
        client._sync_task = None  # noqa: SLF001 - else its error would be raised again
        if not task.cancelled():
            task.exception()
    await client.close()
