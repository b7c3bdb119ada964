"""The bridge, built from settings: HTTP up -> Kafka connected -> SIGTERM -> streams drained -> HTTP down.

It is a process of its own beside the model server, and is imported only there: it needs neither the realtime
service's SDK nor a store.
"""

import asyncio
import random
from collections.abc import Callable
from time import monotonic

import structlog

from processor.bridge.access import BridgeAccess
from processor.bridge.app import Bridge, BridgeOptions
from processor.bridge.asking import Rules
from processor.bridge.kafka import KafkaLink
from processor.bridge.measures import BridgeMeasures
from processor.bridge.stream import StreamParts
from processor.bridge.upstream import Upstream, make_session
from processor.config import bridge as config_bridge
from processor.config.plain_text import plain_text_warnings
from processor.config.rules import is_loopback
from processor.config.settings import Settings
from processor.errors import SettingsError
from processor.service.kafka_connection import kafka_connection
from processor.service.service import in_background, spare_the_collector, stop_on_signals
from processor.telemetry.health import Check, Health
from processor.telemetry.loop_watch import LoopWatch
from processor.telemetry.metrics import Metrics
from processor.telemetry.server import HttpServer
from topics.producer import TokenProducer

PRODUCER_SECONDS = 10.0
WRITE_SECONDS = 30.0

log = structlog.get_logger("tokenstream")


async def serve_bridge(settings: Settings) -> None:
    """Runs the bridge until SIGTERM or SIGINT."""
    for warning in plain_text_warnings(settings):
        log.warning("credential_in_plain_text", detail=warning)
    stop = asyncio.Event()
    with stop_on_signals(stop):
        await run_bridge(settings, stop)
    log.info("stopped")


async def run_bridge(settings: Settings, stop: asyncio.Event) -> None:
    """Runs the bridge until `stop` is set."""
    if settings.bridge_upstream is None:
        raise SettingsError(["TOKENSTREAM_BRIDGE_UPSTREAM: must be set for the bridge, as http://localhost:8000/v1"])
    metrics = Metrics()
    link = KafkaLink(
        _producer_of(settings), settings.kafka_credentials, random.random, metrics.retries.labels("bridge_kafka").inc
    )
    async with LoopWatch(metrics).watching(), make_session() as session, link:
        upstream = Upstream(session, settings.bridge_upstream, settings.bridge_upstream_timeout)
        parts = StreamParts(upstream, link, BridgeMeasures(metrics), monotonic)
        bridge = Bridge(_options(settings), _access(settings), parts)
        checks = (
            Check("kafka", link.trouble),
            Check("controls", link.controls_trouble, required=False),
            Check("bridge", lambda: bridge.draining),
        )
        health = Health(
            metrics,
            lambda: checks,
            lambda: (Check("kafka", link.standstill),),
            for_strangers=not is_loopback(settings.bridge_host),
        )
        server = HttpServer(
            bridge.make_app(health), host=settings.bridge_host, port=settings.bridge_port, setting="BRIDGE"
        )
        async with in_background(health.keep_examining()), server:
            log.info("bridge_listening", host=settings.bridge_host, port=server.port, upstream=settings.bridge_upstream)
            spare_the_collector()
            await stop.wait()
            await bridge.drain()


def _producer_of(settings: Settings) -> Callable[[], TokenProducer]:
    def make() -> TokenProducer:
        return TokenProducer(
            **kafka_connection(settings).arguments(),
            topic=settings.tokens_topic,
            deadline=PRODUCER_SECONDS,
            controls_topic=settings.controls_topic,
        )

    return make


def _access(settings: Settings) -> BridgeAccess:
    return BridgeAccess(config_bridge.token_source(settings), required=not is_loopback(settings.bridge_host))


def _options(settings: Settings) -> BridgeOptions:
    return BridgeOptions(
        rules=Rules(settings.channel_template, settings.channel_pattern),
        max_streams=settings.bridge_max_streams,
        max_bytes=settings.bridge_max_buffered_bytes,
        write_seconds=WRITE_SECONDS,
        drain_seconds=settings.drain_timeout,
        key=config_bridge.key_source(settings),
    )
