"""Opens a store that may not be reachable yet."""

import random

import structlog

from processor.core.backoff import Backoff
from processor.errors import StoreUnavailable
from processor.ports.store import ResponseStore
from processor.telemetry.metrics import Metrics
from processor.telemetry.retry import Retry

log = structlog.get_logger("tokenstream.archive")

BACKOFF = Backoff(first=0.2, cap=10.0)


async def open_patiently(store: ResponseStore, metrics: Metrics) -> None:
    """Start the store, trying again while it does not answer. Raises SchemaOutdated, SettingsError."""

    def failed(error: StoreUnavailable, attempt: int) -> None:
        log.warning("store_unavailable", cause=str(error), attempt=attempt)

    retry = Retry(BACKOFF, random.random, metrics.retries.labels("open_store").inc)
    await retry.until_done(store.start, StoreUnavailable, failed)
