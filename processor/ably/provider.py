"""Ably as a realtime service of the relay: its limits, its links, its histories."""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from processor.ably.ably import MAX_MESSAGE_BYTES, RETRY, AblyOptions, Connection, HistoryReader
from processor.ably.batches import BatchLink, RequestPace
from processor.ably.refusals import COUNTED
from processor.clock import Clock
from processor.core.pacing import Pace
from processor.ports.realtime import Link, LinkFactory, Provider, RealtimeProfile
from processor.telemetry.retry import Retry

DUPLICATE_WINDOW = 120.0
ACK_DEADLINE = 5.0
MAX_ACK_DEADLINE = 30.0
UNPACED_CHANNELS = 256
"""Channels a connection takes before another is opened, where nothing limits its rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AblyRates:
    """Messages a second, of a connection and of a channel; 0 is no limit. With `batches`, `connection` is requests a second."""

    connection: float = 45.0
    channel: float = 25.0
    batches: bool = False
    """Publish by REST, many channels a request."""

    @property
    def channels_per_link(self) -> int:
        """How many busy channels fill a connection."""
        if self.batches:
            return sys.maxsize
        if not self.connection or not self.channel:
            return UNPACED_CHANNELS
        return max(1, math.ceil(self.connection / self.channel))


def profile_of(rates: AblyRates) -> RealtimeProfile:
    return RealtimeProfile(
        max_frame_bytes=MAX_MESSAGE_BYTES,
        duplicate_window=DUPLICATE_WINDOW,
        ack_deadline=ACK_DEADLINE,
        max_ack_deadline=MAX_ACK_DEADLINE,
        channels_per_link=rates.channels_per_link,
        refusal_codes=COUNTED,
    )


def ably_provider(
    options: AblyOptions, rates: AblyRates, clock: Clock, random: Random, retried: Callable[[], None]
) -> Provider:
    """`retried` is called for each time that a link connects again."""

    def new_retry() -> Retry:
        return Retry(RETRY, random.random, retried)

    def new_connection(changed: Callable[[], None]) -> Link:
        pace = Pace(rates.connection, rates.connection / 9, clock.monotonic())
        return Connection(options, pace, new_retry(), changed)

    def new_batch_link(changed: Callable[[], None]) -> Link:
        return BatchLink(options, RequestPace(rates.connection, clock.monotonic()), new_retry(), clock, changed)

    new_link: LinkFactory = new_batch_link if rates.batches else new_connection
    return Provider(profile=profile_of(rates), new_link=new_link, histories=HistoryReader(options))
