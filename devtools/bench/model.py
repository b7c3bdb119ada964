"""Estimates what a deployment of some size needs, by arithmetic over measured figures. Pure.

A response of r tokens/s is published as min(r, f, 1/a) messages per second: at most its tokens, what its channel is
allowed (f), and the rate of acknowledgements (a seconds each), because one publish is in flight per channel. Other
tokens roll up.
Everything else follows from messages, tokens and bytes per second.
"""

import math
from dataclasses import dataclass

from devtools.bench.results import Report

MONTH = 30 * 24 * 3600.0
CONTROL_MESSAGES = 2
"""A response's start and stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """`responses` are open at the busiest moment; `busy` is the month's mean over that. Rates are per second and
    response.

    `frames_per_second` is ABLY_CHANNEL_RATE; `round_trip` how long an acknowledgement takes, in seconds;
    `subscribers` how many read each channel.
    """

    responses: int
    tokens_per_second: float = 40.0
    tokens: int = 400
    frames_per_second: float = 5.0
    round_trip: float = 0.05
    subscribers: int = 1
    busy: float = 0.3
    record_bytes: int = 150
    text_bytes: float = 4.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one relay on one core does, and what limits it. A relay is planned to be loaded to `utilisation`."""

    tokens_per_relay: float = 100_000.0
    messages_per_relay: float = 3_000.0
    memory_idle: float = 90 * 2**20
    memory_per_response: float = 4_096.0
    utilisation: float = 0.6
    connections_per_relay: int = 100
    connection_rate: float = 45.0
    partitions_per_relay: int = 4
    partition_bytes: float = 5e6
    broker_bytes: float = 50e6
    broker_partitions: int = 4_000
    replicas: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """`bound_by` names the resource that determines the number of relays."""

    tokens_per_second: float
    messages_per_second: float
    tokens_per_frame: float
    roll_up_delay: float
    bytes_per_second: float
    relays: int
    bound_by: str
    connections: int
    partitions: int
    brokers: int
    memory_per_relay: float
    published_a_month: float
    messages_a_month: float
    messages_a_month_plain: float


def frame_rate(demand: Demand) -> float:
    """Frames of text a second of one response."""
    return min(demand.tokens_per_second, demand.frames_per_second, 1 / demand.round_trip)


def messages_of(demand: Demand, *, roll_up: bool = True) -> float:
    """Messages one response takes, its start and stop among them."""
    per_frame = demand.tokens_per_second / frame_rate(demand) if roll_up else 1.0
    return CONTROL_MESSAGES + demand.tokens / per_frame


def capacity(demand: Demand, measured: Measured) -> Capacity:
    seconds = demand.tokens / demand.tokens_per_second
    tokens = demand.responses * demand.tokens_per_second
    per_response = messages_of(demand)
    messages = demand.responses * per_response / seconds
    connections = math.ceil(messages / measured.connection_rate)
    needs = {
        "tokens": tokens / (measured.tokens_per_relay * measured.utilisation),
        "messages": messages / (measured.messages_per_relay * measured.utilisation),
        "connections": connections / measured.connections_per_relay,
    }
    bound_by = max(needs, key=lambda name: needs[name])
    relays = max(1, math.ceil(needs[bound_by]))
    data = tokens * demand.record_bytes
    partitions = max(12, relays * measured.partitions_per_relay, math.ceil(data / measured.partition_bytes))
    held = measured.memory_per_response + 2 * demand.tokens * demand.text_bytes
    published = demand.responses * demand.busy * MONTH / seconds * per_response
    plain = demand.responses * demand.busy * MONTH / seconds * messages_of(demand, roll_up=False)
    return Capacity(
        tokens_per_second=tokens,
        messages_per_second=messages,
        tokens_per_frame=demand.tokens_per_second / frame_rate(demand),
        roll_up_delay=1 / frame_rate(demand),
        bytes_per_second=data,
        relays=relays,
        bound_by=bound_by,
        connections=connections,
        partitions=partitions,
        brokers=brokers(data, partitions, measured),
        memory_per_relay=measured.memory_idle + held * math.ceil(demand.responses / relays),
        published_a_month=published,
        messages_a_month=published * (1 + demand.subscribers),
        messages_a_month_plain=plain * (1 + demand.subscribers),
    )


def brokers(data: float, partitions: int, measured: Measured) -> int:
    """Returns the brokers needed for the written data, its copies, and one reader.

    `tokens` and `responses` have `partitions` partitions each.
    """
    by_bytes = data * measured.replicas / measured.broker_bytes
    by_partitions = 2 * partitions * measured.replicas / measured.broker_partitions
    return max(measured.replicas, math.ceil(by_bytes), math.ceil(by_partitions))


def measured_from(report: Report | None) -> Measured:
    """The report's own figures, and the usual ones for what it has none of."""
    usual = Measured()

    def figure(scenario: str, value: str, otherwise: float) -> float:
        result = report.find(scenario) if report is not None else None
        found = result.get(value) if result is not None else None
        return otherwise if found is None else found

    idle = figure("idle", "memory, idle", usual.memory_idle / 2**20) * 2**20
    each = figure("idle", "of that beyond twice its text", usual.memory_per_response)
    return Measured(
        tokens_per_relay=figure("backlog", "tokens a second", usual.tokens_per_relay),
        messages_per_relay=figure("one-token", "messages a second", usual.messages_per_relay),
        memory_idle=idle,
        memory_per_response=max(0.0, each),
    )
