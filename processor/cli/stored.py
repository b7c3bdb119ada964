"""Opens the store for commands."""

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from processor.cli.shared import quiet_logs, read_settings

if TYPE_CHECKING:
    from pathlib import Path

    from processor.config.settings import Settings
    from processor.ports.store import ResponseStore


def store_settings(config: "Path | None") -> "Settings":
    settings = read_settings(config)
    quiet_logs()
    return settings


@contextlib.asynccontextmanager
async def opened_store(settings: "Settings") -> "AsyncIterator[ResponseStore]":
    from processor.archive.stores import open_store

    store = open_store(settings.store_url)
    try:
        await store.start()
        yield store
    finally:
        await store.close()
