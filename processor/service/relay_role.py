"""The relay as a whole: built from settings. Imported only by processes that relay, so that others need not load Ably."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from processor.ably.ably import AblyOptions
from processor.clock import Clock
from processor.config.settings import Settings
from processor.core.limits import PROCESS_FINALS, Limits
from processor.core.partition import PartitionPipeline
from processor.errors import KafkaUnavailable, SettingsError
from processor.kafka import CommittedOffsets, Consumer, ResponsesReader
from processor.kafka.controls import KafkaControls
from processor.relay.controls import LOOKBACK, RelayControls
from processor.relay.lanes import LaneParts, Lanes
from processor.relay.parts import PartitionLanes, WorkerParts
from processor.relay.pool import ConnectionPool, PoolOptions
from processor.relay.relay import Relay, RelayOptions
from processor.telemetry.metrics import Metrics
from topics.codec import Decoder
from topics.controls_reader import ControlsReader

RECORD_ROOM = 1024 * 1024
REBALANCE_ROOM = 10.0


def limits_of(settings: Settings) -> Limits:
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
    )


def connection_pool(settings: Settings, metrics: Metrics, clock: Clock, random: Random) -> ConnectionPool:
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
    options = PoolOptions(
        max_connections=settings.ably_max_connections,
        connection_rate=settings.ably_connection_rate,
        channel_rate=settings.ably_channel_rate,
        batches=settings.ably_transport == "rest",
    )
    return ConnectionPool(ably, options, metrics, clock, random)


def build_relay(
    settings: Settings, pool: ConnectionPool, metrics: Metrics, clock: Clock, random: Random, tasks: asyncio.TaskGroup
) -> Relay:

    def client() -> dict[str, Any]:
        try:
            return settings.kafka_client_options()
        except (
            SettingsError
        ) as error:  # a file that was good when the process started is gone or spoilt: it may come back
            raise KafkaUnavailable(str(error)) from error

    lane_parts = LaneParts(realtime=pool, metrics=metrics, clock=clock, random=random)

    def lanes_of(
        pipeline: PartitionPipeline, may_publish: Callable[[], bool], progressed: Callable[[], None]
    ) -> PartitionLanes:
        return Lanes(lane_parts, pipeline, may_publish, progressed, tasks)

    consumer = Consumer(
        client,
        topic=settings.tokens_topic,
        group_id=settings.kafka_group_id,
        instance_id=settings.kafka_group_instance_id,
        session_timeout=settings.kafka_session_timeout,
        rebalance_timeout=settings.drain_timeout + REBALANCE_ROOM,
        isolation_level=settings.kafka_isolation_level,
        clock=clock,
        max_batch_bytes=settings.max_batch_bytes,
    )
    parts = WorkerParts(
        consumer=consumer,
        committed=CommittedOffsets(client, settings.kafka_group_id, settings.tokens_topic),
        responses=ResponsesReader(client, settings.responses_topic, max_batch_bytes=settings.max_batch_bytes),
        lanes_of=lanes_of,
        decoder=Decoder(settings.channel_pattern),
        metrics=metrics,
        clock=clock,
        random=random,
        responses_topic=settings.responses_topic,
        dead_letters_topic=settings.dead_letters_topic,
        dead_letter_bytes=settings.max_response_bytes + RECORD_ROOM,
        controls=RelayControls(
            clock,
            random,
            source=lambda take: ControlsReader(client, settings.controls_topic, take, lookback=LOOKBACK),
            sink=KafkaControls(client, controls_topic=settings.controls_topic),
        ),
    )
    options = RelayOptions(
        client=client,
        credentials=settings.kafka_credentials,
        group_id=settings.kafka_group_id,
        limits=limits_of(settings),
        drain_timeout=settings.drain_timeout,
        max_record_bytes=settings.max_response_bytes + RECORD_ROOM,
    )
    return Relay(options, parts, tasks)
