"""Stopping an aiokafka consumer of which a task may have failed.

The library's internals that are used: its client, and the client's task that learns of leaders.
"""

import asyncio
import contextlib
from typing import Any

from processor.kafka.options import STOP_DEADLINE
from topics.client_tasks import stop_consumer


async def stop_quietly(consumer: Any) -> None:
    """Stops a consumer, and closes its connections even if one of its tasks has failed. Takes seconds at most."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(STOP_DEADLINE):
            try:
                await stop_consumer(consumer)
            except Exception:  # noqa: BLE001 - the error of a task: the library raises it before it closes its client
                await _close(consumer._client)  # noqa: SLF001


async def _close(client: Any) -> None:
    task = client._sync_task  # noqa: SLF001
    if task is not None and task.done():
        client._sync_task = None  # noqa: SLF001 - else its error would be raised again
        if not task.cancelled():
            task.exception()
    await client.close()
