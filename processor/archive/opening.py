"""Opening a store that may not be there yet."""

import asyncio
import random

import structlog

from processor.core.backoff import Backoff
from processor.errors import StoreUnavailable
from processor.ports.store import ResponseStore

log = structlog.get_logger("tokenstream.archive")

BACKOFF = Backoff(first=0.2, cap=10.0)


async def open_patiently(store: ResponseStore) -> None:
    """Start the store, trying again while it does not answer. Raises SchemaOutdated, SettingsError."""
    attempt = 0
    while True:
        try:
            await store.start()
        except StoreUnavailable as error:
            log.warning("store_unavailable", cause=str(error), attempt=attempt)
            await asyncio.sleep(BACKOFF.delay(attempt, random.random()))  # noqa: S311 - jitter
            attempt += 1
        else:
            return
