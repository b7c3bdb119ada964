"""The gateway, built from settings."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import Random

from processor.api.access import Access
from processor.clock import Clock
from processor.config.kafka import responses_batch_bytes
from processor.config.settings import Settings
from processor.gateway.feed import Feed
from processor.gateway.http import EventsV1, GatewayParts
from processor.gateway.hub import Hub, HubLimits
from processor.kafka.log_follower import LogFollower, partition_for
from processor.ports.store import ResponseStore
from processor.service.kafka_connection import connection_source
from processor.telemetry.metrics import Metrics
from topics.specs import FRAMES_RETENTION_MS

FAILED_DRAIN_SECONDS = 1.0
PLAUSIBLE_SECONDS = 7 * 86_400.0
"""A frame's `ts` that lies further away measures nothing."""


@dataclass(frozen=True, slots=True)
class GatewayRole:
    """A gateway that is not running yet. `events` can be served before: it then answers 503."""

    feed: Feed
    events: EventsV1
    drain_timeout: float

    @contextlib.asynccontextmanager
    async def running(self, tasks: asyncio.TaskGroup, stop: asyncio.Event) -> AsyncIterator[list[asyncio.Task[None]]]:
        """Gives its tasks. Once `stop` is set its readers are closed; leaving waits for that."""
        working = [tasks.create_task(self.feed.run()), tasks.create_task(self.events.keep_alive())]
        draining = tasks.create_task(self._drain_after(stop))
        try:
            yield working
        finally:
            if stop.is_set():
                await asyncio.wait({draining})
            else:  # something failed, and its error must not wait for readers
                await self.events.drain(FAILED_DRAIN_SECONDS)
            for task in (*working, draining):
                task.cancel()

    async def _drain_after(self, stop: asyncio.Event) -> None:
        await stop.wait()
        await self.events.drain(self.drain_timeout)


def build_gateway(
    settings: Settings,
    store: ResponseStore,
    access: Access,
    metrics: Metrics,
    clock: Clock,
    random: Random,
    *,
    alone: bool,
) -> GatewayRole:
    """`alone`: the process has no api."""

    def delivered(ts: int, readers: int) -> None:
        metrics.gateway_events.inc(readers)
        delay = clock.wall() - ts / 1000
        if ts and abs(delay) < PLAUSIBLE_SECONDS:
            metrics.gateway_delivery_seconds.observe(max(0.0, delay))

    def show() -> None:
        metrics.gateway_buffer_bytes.set(hub.buffer.bytes)
        metrics.gateway_transcript_bytes.set(hub.transcripts.bytes)

    limits = HubLimits(settings.gateway_max_buffered_bytes, settings.max_transcript_bytes, FRAMES_RETENTION_MS)
    hub = Hub(limits, delivered)
    feed = Feed(
        hub,
        LogFollower(connection_source(settings), settings.frames_topic, max_batch_bytes=settings.max_batch_bytes),
        LogFollower(
            connection_source(settings), settings.responses_topic, max_batch_bytes=responses_batch_bytes(settings)
        ),
        partition_for=partition_for,
        clock=clock,
        random=random,
        cleaned=show,
        retried=metrics.retries.labels("gateway_feed").inc,
    )
    parts = GatewayParts(
        hub=hub,
        store=store,
        access=access,
        metrics=metrics,
        clock=clock,
        random=random,
        partition_of=feed.partition_of,
        caught_up=feed.caught_up,
        cors_origins=settings.cors_origins,
        max_clients=settings.gateway_max_clients,
        alone=alone,
    )
    return GatewayRole(feed, EventsV1(parts), settings.drain_timeout)
