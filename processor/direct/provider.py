"""The frames topic as a realtime service."""

import sys
from collections.abc import Callable
from random import Random

from processor.clock import Clock
from processor.direct.link import FORBIDDEN, MAX_FRAME_BYTES, RETRY, TOO_LARGE, DirectLink
from processor.direct.tail import FramesTail
from processor.kafka.connection import ConnectionSource
from processor.kafka.frames_writer import FramesWriter
from processor.kafka.log_follower import LogTail, partition_for
from processor.ports.realtime import Link, Provider, RealtimeProfile
from processor.telemetry.retry import Retry

DUPLICATE_WINDOW = 120.0
"""Seconds. The topic keeps repeats; gateways drop those of which their buffer has the first one, which is so for far longer unless
GATEWAY_MAX_BUFFERED_BYTES is small. A reader drops the others by the offset rule."""

PROFILE = RealtimeProfile(
    max_frame_bytes=MAX_FRAME_BYTES,
    duplicate_window=DUPLICATE_WINDOW,
    ack_deadline=5.0,
    max_ack_deadline=30.0,
    channels_per_link=sys.maxsize,
    refusal_codes=frozenset({TOO_LARGE, FORBIDDEN}),
)


def direct_provider(
    source: ConnectionSource, topic: str, clock: Clock, random: Random, retried: Callable[[], None]
) -> Provider:
    """`retried` is called for each time that a link connects again."""

    def new_link(changed: Callable[[], None]) -> Link:
        return DirectLink(FramesWriter(source, topic), clock, Retry(RETRY, random.random, retried), changed)

    return Provider(profile=PROFILE, new_link=new_link, histories=FramesTail(LogTail(source, topic), partition_for))
