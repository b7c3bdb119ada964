"""The archive in a process of its own, for tests that kill it: `run_archive.py <options as JSON>`.

Options: bootstrap, group, responses, dead_letters, store, and `die_after_batches`: kill -9 oneself between a store's
commit and the acknowledgement of that batch.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import orjson

from processor.archive.app import Archive, ArchiveSettings
from processor.archive.sql import SqlStore
from processor.clock import Clock
from processor.kafka.connection import KafkaConnection
from processor.ports.store import Entry
from processor.telemetry.metrics import Metrics


class DyingStore:
    """Stores, and dies before it can confirm."""

    batches_left = -1

    def __init__(self, inside: SqlStore) -> None:
        self.inside = inside

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inside, name)

    async def upsert_batch(self, entries: Sequence[Entry], *, force: bool = False) -> None:
        await self.inside.upsert_batch(entries, force=force)
        self.batches_left -= 1
        if self.batches_left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


async def main(options: dict[str, str]) -> None:
    store: Any = DyingStore(SqlStore(options["store"], clock=Clock()))
    store.batches_left = int(options.get("die_after_batches", -1))
    settings = ArchiveSettings(options["group"], options["responses"], options["dead_letters"], session_timeout=6.0)
    archive = Archive(
        settings,
        source=lambda: KafkaConnection(options["bootstrap"]),
        store=store,
        metrics=Metrics(),
    )
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(archive.run())
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        pass
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(main(orjson.loads(sys.argv[1])))
