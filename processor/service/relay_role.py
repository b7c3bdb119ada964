"""The relay, built from settings: selects the realtime service. Imported only by processes that relay."""

import asyncio
from collections.abc import Callable
from random import Random

from processor.clock import Clock
from processor.config.kafka import response_record_bytes, responses_batch_bytes
from processor.config.settings import Settings
from processor.core.chunks import ChunkFormat
from processor.core.limits import PROCESS_FINALS, Limits
from processor.core.partition import PartitionPipeline
from processor.errors import SettingsError
from processor.kafka import CommittedOffsets, Consumer, ResponsesReader, transactional_writers
from processor.kafka.connection import ConnectionSource
from processor.kafka.controls import KafkaControls, report_left_out
from processor.ports.realtime import Provider, Realtime, RealtimeProfile
from processor.relay.controls import LOOKBACK, RelayControls
from processor.relay.lanes import LaneParts, Lanes
from processor.relay.measures import Measures
from processor.relay.parts import PartitionLanes, WorkerParts
from processor.relay.pool import ConnectionPool, PoolOptions
from processor.relay.relay import Relay, RelayOptions
from processor.service.kafka_connection import connection_source
from processor.telemetry.metrics import Metrics
from topics.codec import Decoder
from topics.controls_reader import ControlsReader
from topics.openai import Format

REBALANCE_ROOM = 10.0


def limits_of(settings: Settings, frame_bytes: int) -> Limits:
    """`frame_bytes` is the largest message that the realtime service takes."""
    return Limits(
        snapshot_interval=settings.snapshot_interval,
        gap_timeout=settings.gap_timeout,
        idle_timeout=settings.idle_timeout,
        finished_ttl=settings.finished_ttl,
        cancel_timeout=settings.cancel_timeout,
        buffered=settings.max_buffered_bytes,
        transcript=settings.max_transcript_bytes,
        response=settings.max_response_bytes,
        ended=settings.max_ended_responses,
        open_responses=settings.max_open_responses,
        finals=PROCESS_FINALS,
        frame_bytes=frame_bytes,
    )


def realtime_provider(settings: Settings, metrics: Metrics, clock: Clock, random: Random) -> Provider:
    """Chooses the realtime service."""
    retried = metrics.retries.labels("realtime_link").inc
    if settings.realtime == "direct":
        from processor.direct.provider import direct_provider  # noqa: PLC0415 - only one of the two is needed

        return direct_provider(connection_source(settings), settings.frames_topic, clock, random, retried)
    return _ably(settings, clock, random, retried)


def _ably(settings: Settings, clock: Clock, random: Random, retried: Callable[[], None]) -> Provider:
    from processor.ably.ably import AblyOptions  # noqa: PLC0415 - it brings Ably's SDK
    from processor.ably.provider import AblyRates, ably_provider  # noqa: PLC0415

    def key() -> str:
        secret = settings.current_secret("ably_key")
        if secret is None:
            raise SettingsError(["TOKENSTREAM_ABLY_KEY: must be set for the relay"])
        return secret

    ably = AblyOptions(
        key=key,
        client_id=settings.ably_client_id,
        endpoint=settings.ably_endpoint,
        tls=settings.ably_tls,
        ephemeral_tokens=settings.ably_ephemeral_tokens,
    )
    rates = AblyRates(
        connection=settings.ably_connection_rate,
        channel=settings.ably_channel_rate,
        batches=settings.ably_transport == "rest",
    )
    return ably_provider(ably, rates, clock, random, retried)


def connection_pool(
    settings: Settings, provider: Provider, metrics: Metrics, clock: Clock, random: Random
) -> ConnectionPool:
    if settings.realtime == "direct":
        options = PoolOptions(max_links=1, channel_rate=settings.direct_channel_rate)
    else:
        options = PoolOptions(max_links=settings.ably_max_connections, channel_rate=settings.ably_channel_rate)
    return ConnectionPool(provider, options, metrics, clock, random)


def build_relay(
    settings: Settings,
    profile: RealtimeProfile,
    pool: Realtime,
    metrics: Metrics,
    clock: Clock,
    random: Random,
    tasks: asyncio.TaskGroup,
) -> Relay:
    parts = worker_parts(settings, profile, pool, metrics, clock, random, tasks)
    return Relay(relay_options(settings, profile), parts, tasks)


def relay_options(settings: Settings, profile: RealtimeProfile) -> RelayOptions:
    return RelayOptions(
        credentials=settings.kafka_credentials,
        check_credentials=connection_source(settings),
        limits=limits_of(settings, profile.max_frame_bytes),
        drain_timeout=settings.drain_timeout,
    )


def worker_parts(
    settings: Settings,
    profile: RealtimeProfile,
    pool: Realtime,
    metrics: Metrics,
    clock: Clock,
    random: Random,
    tasks: asyncio.TaskGroup,
) -> WorkerParts:
    source = connection_source(settings)
    lane_parts = LaneParts(
        realtime=pool, metrics=metrics, clock=clock, random=random, duplicate_window=profile.duplicate_window
    )

    def lanes_of(
        pipeline: PartitionPipeline, may_publish: Callable[[], bool], progressed: Callable[[], None]
    ) -> PartitionLanes:
        return Lanes(lane_parts, pipeline, may_publish, progressed, tasks)

    consumer = _consumer(settings, source, metrics, clock, random)
    return WorkerParts(
        consumer=consumer,
        committed=CommittedOffsets(source, settings.kafka_group_id, settings.tokens_topic),
        responses=ResponsesReader(source, settings.responses_topic, max_batch_bytes=responses_batch_bytes(settings)),
        writer_of=transactional_writers(
            source,
            group_id=settings.kafka_group_id,
            topic=settings.tokens_topic,
            max_bytes=response_record_bytes(settings),
        ),
        lanes_of=lanes_of,
        decoder=Decoder(settings.channel_pattern),
        chunk_format=ChunkFormat(Format(settings.tokens_format), settings.channel_template, settings.channel_pattern),
        metrics=metrics,
        clock=clock,
        random=random,
        measures=Measures(metrics, consumer),
        responses_topic=settings.responses_topic,
        dead_letters_topic=settings.dead_letters_topic,
        dead_letter_bytes=response_record_bytes(settings),
        controls=_controls(settings, source, metrics, clock, random),
    )


def _consumer(settings: Settings, source: ConnectionSource, metrics: Metrics, clock: Clock, random: Random) -> Consumer:
    return Consumer(
        source,
        topic=settings.tokens_topic,
        group_id=settings.kafka_group_id,
        instance_id=settings.kafka_group_instance_id,
        session_timeout=settings.kafka_session_timeout,
        rebalance_timeout=settings.drain_timeout + REBALANCE_ROOM,
        isolation_level=settings.kafka_isolation_level,
        clock=clock,
        max_batch_bytes=settings.max_batch_bytes,
        chance=random.random,
        retried=metrics.retries.labels("ask_broker").inc,
    )


def _controls(
    settings: Settings, source: ConnectionSource, metrics: Metrics, clock: Clock, random: Random
) -> RelayControls:
    return RelayControls(
        clock,
        random,
        source=lambda take: ControlsReader(
            lambda: source().arguments(),
            settings.controls_topic,
            take,
            lookback=LOOKBACK,
            left_out=report_left_out,
        ),
        sink=KafkaControls(source, controls_topic=settings.controls_topic),
        retried=metrics.retries.labels("notice").inc,
    )
