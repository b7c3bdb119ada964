"""The composition root: builds the roles from settings, runs them in one task group, and stops them in the right order.

    HTTP up (health) -> topics verified -> archive, api, gateway, relay -> SIGTERM -> relay drained -> archive, HTTP
    down

A role that fails permanently ends the process; the next process continues its work. What only one role needs is
imported when that role is built: a relay does not load a database driver, an api does not load the client of the
realtime service.
"""

import asyncio
import contextlib
import gc
import os
import random
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Protocol

import structlog

from processor.api.access import Access, is_loopback
from processor.api.app import ApiLimits, ApiParts, make_app
from processor.api.memory import release_large_buffers
from processor.clock import Clock
from processor.config import api as config_api
from processor.config.kafka import responses_batch_bytes
from processor.config.plain_text import plain_text_warnings
from processor.config.settings import Settings
from processor.core.backoff import Backoff
from processor.errors import KafkaUnavailable
from processor.kafka.controls import KafkaControls
from processor.kafka.tombstones import KafkaTombstones
from processor.kafka.topics_admin import TopicsWanted, verify_startup
from processor.ports.controls import Controls
from processor.ports.store import ResponseStore
from processor.service.kafka_connection import connection_source, kafka_connection
from processor.telemetry.health import Check, Health
from processor.telemetry.loop_watch import LoopWatch
from processor.telemetry.metrics import Metrics
from processor.telemetry.retry import Retry
from processor.telemetry.server import HttpServer
from topics.specs import TopicNames

if TYPE_CHECKING:
    from processor.archive.app import Archive
    from processor.service.gateway_role import GatewayRole

log = structlog.get_logger("tokenstream")

TOPICS_RETRY = Backoff(first=2.0, cap=4.0)
STOPPED_AT_ONCE = 1


class Role(StrEnum):
    RELAY = "relay"
    ARCHIVE = "archive"
    API = "api"
    GATEWAY = "gateway"


def topic_names(settings: Settings) -> TopicNames:
    return TopicNames(
        tokens=settings.tokens_topic,
        responses=settings.responses_topic,
        dead_letters=settings.dead_letters_topic,
        controls=settings.controls_topic,
        frames=settings.frames_topic if settings.realtime == "direct" else None,
    )


def topics_wanted(settings: Settings) -> TopicsWanted:
    return TopicsWanted(
        names=topic_names(settings),
        max_response_bytes=settings.max_response_bytes,
        replication_factor=settings.topics_replication_factor,
    )


async def serve(settings: Settings, roles: frozenset[Role]) -> None:
    """Runs the roles until SIGTERM or SIGINT. Raises the error that ends a role permanently."""
    for warning in plain_text_warnings(settings):
        log.warning("credential_in_plain_text", detail=warning)
    stop = asyncio.Event()
    with stop_on_signals(stop):
        await Service(settings, roles, stop).run()
    log.info("stopped")


@contextlib.contextmanager
def stop_on_signals(stop: asyncio.Event) -> Iterator[None]:
    """The first SIGTERM or SIGINT asks for a clean stop; the second ends the process at once, losing nothing."""
    loop = asyncio.get_running_loop()

    def asked(number: signal.Signals) -> None:
        if stop.is_set():
            log.warning("stopped_at_once", signal=number.name)
            os._exit(STOPPED_AT_ONCE)
        log.info("stopping", signal=number.name)
        stop.set()

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, asked, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


class Service:
    """One process. `checks` are what its roles depend on, for `/readyz`."""

    def __init__(self, settings: Settings, roles: frozenset[Role], stop: asyncio.Event) -> None:
        self._settings = settings
        self._roles = roles
        self._stop = stop
        self._metrics = Metrics()
        self._clock = Clock()
        self._random = Random()  # noqa: S311 - jitter, not secrets
        self._checks: list[Check] = [Check("topics", lambda: "not verified yet")]
        self._vitals: list[Check] = []
        self._health = Health(
            self._metrics,
            lambda: self._checks,
            lambda: self._vitals,
            for_strangers=bool({Role.API, Role.GATEWAY} & roles) and not is_loopback(settings.http_host),
        )

    async def run(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(LoopWatch(self._metrics).watching())
            await stack.enter_async_context(in_background(self._health.keep_examining()))
            store = self._open_store(stack)
            access = self._access()
            api = self._api(store, access, stack)
            gateway = self._gateway_role(store, access)
            streams = None if gateway is None else gateway.events.serve
            app = make_app(self._metrics, self._health, api, streams=streams)
            server = HttpServer(app, host=self._settings.http_host, port=self._settings.http_port)
            await stack.enter_async_context(server)
            log.info("http_listening", host=self._settings.http_host, port=server.port)
            if not await self._unless_stopped(self._verify_topics()):
                return
            async with asyncio.TaskGroup() as tasks, contextlib.AsyncExitStack() as running:
                if store is not None and Role.ARCHIVE not in self._roles:
                    await self._start_store(store, tasks, running)
                if store is not None and Role.ARCHIVE in self._roles:
                    await running.enter_async_context(self._archive(store, tasks))
                if gateway is not None:
                    await running.enter_async_context(self._gateway(gateway, tasks))
                if Role.RELAY in self._roles:
                    await running.enter_async_context(self._relay(tasks))
                if api is not None and api.controls is not None:
                    running.callback(tasks.create_task(_connect(api.controls)).cancel)
                if api is not None and self._settings.probe_channel is not None:
                    running.enter_context(self._probing(api, self._settings.probe_channel, tasks))
                spare_the_collector()
                log.info("started", roles=sorted(self._roles), group=self._settings.kafka_group_id)
                await self._stop.wait()

    def _open_store(self, stack: contextlib.AsyncExitStack) -> ResponseStore | None:
        if not self._roles & {Role.ARCHIVE, Role.API, Role.GATEWAY}:
            return None
        from processor.archive.stores import open_store  # noqa: PLC0415 - a relay needs no database driver

        store = open_store(self._settings.store_url, clock=self._clock)
        stack.push_async_callback(store.close)
        return store

    def _access(self) -> Access:
        """Who may read, through `/v1`'s records and its streams alike."""
        settings = self._settings
        if self._roles & {Role.API, Role.GATEWAY}:
            config_api.log_access(settings)
            release_large_buffers()
        return Access(
            open=settings.api_is_open,
            loopback_only=settings.api_public is not True,
            tokens=config_api.token_source(settings),
            keys=config_api.key_source(settings),
        )

    def _gateway_role(self, store: ResponseStore | None, access: Access) -> "GatewayRole | None":
        if store is None or Role.GATEWAY not in self._roles:
            return None
        from processor.service.gateway_role import build_gateway  # noqa: PLC0415 - other roles do not need it

        alone = Role.API not in self._roles
        return build_gateway(self._settings, store, access, self._metrics, self._clock, self._random, alone=alone)

    def _api(self, store: ResponseStore | None, access: Access, stack: contextlib.AsyncExitStack) -> ApiParts | None:
        if store is None or Role.API not in self._roles:
            return None
        settings = self._settings
        tombstones = KafkaTombstones(connection_source(settings), responses_topic=settings.responses_topic)
        stack.push_async_callback(tombstones.close)
        controls = KafkaControls(connection_source(settings), controls_topic=settings.controls_topic)
        stack.push_async_callback(controls.close)
        limits = ApiLimits(
            settings.api_max_buffered_bytes,
            settings.api_max_requests,
            settings.api_write_timeout,
            cancel_rate=settings.api_cancel_rate,
        )
        return ApiParts(store, access, tombstones, settings.cors_origins, limits, controls)

    async def _verify_topics(self) -> None:
        """Wait for Kafka; raise TopicsUnfit where the topics can't work, warn where they are not as they should be."""
        trouble: list[str | None] = ["not verified yet"]
        self._checks = [Check("kafka", lambda: trouble[0])]

        def failed(error: KafkaUnavailable, _attempt: int) -> None:
            log.warning("kafka_unavailable", cause=str(error))
            trouble[0] = str(error)

        retry = Retry(TOPICS_RETRY, random.random, self._metrics.retries.labels("verify_topics").inc)
        warnings = await retry.until_done(
            lambda: verify_startup(kafka_connection(self._settings), topics_wanted(self._settings)),
            KafkaUnavailable,
            failed,
        )
        for warning in warnings:
            log.warning("topics_differ", detail=warning)
        self._checks = []

    async def _unless_stopped(self, work: Coroutine[None, None, None]) -> bool:
        """Whether `work` finished before the stop was asked for; otherwise it is cancelled. Raises what it raises."""
        working = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
                return True
            return False
        finally:
            stopped.cancel()
            working.cancel()

    async def _start_store(
        self, store: ResponseStore, tasks: asyncio.TaskGroup, running: contextlib.AsyncExitStack
    ) -> None:
        from processor.archive.opening import open_patiently  # noqa: PLC0415

        opening = tasks.create_task(open_patiently(store, self._metrics))
        running.callback(opening.cancel)
        self._checks.append(Check("store", lambda: _store_trouble(store)))

    @contextlib.asynccontextmanager
    async def _archive(self, store: ResponseStore, tasks: asyncio.TaskGroup) -> AsyncIterator[None]:
        from processor.archive.app import Archive, ArchiveSettings  # noqa: PLC0415 - it brings Faust

        settings = self._settings
        archive = Archive(
            ArchiveSettings(
                group_id=settings.archive_group_id,
                responses_topic=settings.responses_topic,
                dead_letters_topic=settings.dead_letters_topic,
                session_timeout=settings.kafka_session_timeout,
                max_batch_bytes=responses_batch_bytes(settings),
            ),
            source=connection_source(settings),
            credentials=settings.kafka_credentials,
            store=store,
            metrics=self._metrics,
            clock=self._clock,
        )
        # Beside a relay a store that is down must not stop live tokens: it is shown, and the process stays ready.
        alone = Role.RELAY not in self._roles
        self._checks.append(Check("archive", lambda: _archive_trouble(archive), required=alone))
        task = tasks.create_task(archive.run())
        vital = Check("archive", lambda: ended(task))
        self._vitals.append(vital)
        try:
            yield
        finally:
            self._vitals.remove(vital)
            task.cancel()

    @contextlib.asynccontextmanager
    async def _gateway(self, gateway: "GatewayRole", tasks: asyncio.TaskGroup) -> AsyncIterator[None]:
        async with gateway.running(tasks, self._stop) as working:
            self._checks.append(Check("frames", gateway.feed.trouble))
            # Every gateway reads the same log: one that is not ready would help no reader, and all would lose the rest.
            self._checks.append(Check("frames_partitions", gateway.feed.damage, required=False))
            vital = Check("gateway", lambda: next((why for task in working if (why := ended(task))), None))
            self._vitals.append(vital)
            try:
                yield
            finally:
                self._vitals.remove(vital)

    @contextlib.contextmanager
    def _probing(self, api: ApiParts, channel: str, tasks: asyncio.TaskGroup) -> Iterator[None]:
        """No check asks about it: an api whose probes fail serves as well as before."""
        from processor.service.probe_role import build_probe  # noqa: PLC0415 - it brings the realtime service's client

        probe = build_probe(self._settings, channel, api, self._metrics, self._random)
        task = tasks.create_task(probe.run())
        try:
            yield
        finally:
            task.cancel()

    @contextlib.asynccontextmanager
    async def _relay(self, tasks: asyncio.TaskGroup) -> AsyncIterator[None]:
        from processor.service import relay_role  # noqa: PLC0415 - it brings the realtime service's client

        settings, metrics, clock, random = self._settings, self._metrics, self._clock, self._random
        provider = relay_role.realtime_provider(settings, self._metrics, clock, random)
        async with relay_role.connection_pool(settings, provider, metrics, clock, random) as pool:
            relay = relay_role.build_relay(settings, provider.profile, pool, metrics, clock, random, tasks)
            self._checks.append(Check("kafka", relay.trouble))
            self._checks.append(Check("controls", lambda: relay.controls_trouble, required=False))
            self._checks.append(Check("realtime", lambda: realtime_trouble(pool)))
            task = tasks.create_task(relay.run())
            vital = Check("relay", lambda: ended(task) or relay.standstill())
            self._vitals.append(vital)
            try:
                yield
            finally:
                self._vitals.remove(vital)
                await relay.stop()
                await asyncio.wait({task})


async def _connect(controls: Controls) -> None:
    """Connects before the first cancel needs it. A failure is ignored: the first cancel then connects."""
    with contextlib.suppress(KafkaUnavailable):
        await controls.connect()


def spare_the_collector() -> None:
    """Excludes the objects that are loaded by now from Python's garbage collection: they remain, and walking them
    stops everything else.

    Objects of a record are freed when they are released. Reference cycles are rare, so collections can be rare.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@contextlib.asynccontextmanager
async def in_background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Beside the body, and ended with it. For work that never ends and never fails."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def ended(task: asyncio.Task[None]) -> str | None:
    """A task that failed takes the process with it; this is for one that merely returned."""
    return "its task ended, though nothing asked it to" if task.done() else None


async def _store_trouble(store: ResponseStore) -> str | None:
    await store.ping()  # the exception gives the reason
    return None


def _archive_trouble(archive: "Archive") -> str | None:
    status = archive.status()
    return None if status.ok else status.reason


class _Publishing(Protocol):
    """What readiness asks of a `ConnectionPool`."""

    def refusal(self) -> str | None: ...
    def connected(self) -> int: ...
    def standstill(self) -> str | None: ...


def realtime_trouble(pool: _Publishing) -> str | None:
    """Why nothing can be published, as a sentence. Readiness alone depends on it: a restart helps against none of it."""
    if not pool.connected():
        return pool.refusal() or "no connection to the realtime service is up"
    return pool.refusal() or pool.standstill()
