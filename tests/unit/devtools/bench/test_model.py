import dataclasses
import math

import pytest

from devtools.bench.model import Demand, Measured, capacity, frame_rate, measured_from, messages_of
from devtools.bench.results import Machine, Report, Result

MEASURED = Measured(tokens_per_relay=100_000, messages_per_relay=4_000, utilisation=0.5, connections_per_relay=100)


def test_a_response_takes_a_message_a_token_where_neither_pace_nor_network_limits_it() -> None:
    demand = Demand(responses=1, tokens_per_second=4, tokens=100, frames_per_second=25, round_trip=0.05)
    assert messages_of(demand) == 102
    assert messages_of(demand) == messages_of(demand, roll_up=False)


@pytest.mark.parametrize(("frames", "trip", "expected"), [(5.0, 0.05, 5.0), (25.0, 0.1, 10.0), (100.0, 0.001, 40.0)])
def test_the_slowest_of_tokens_pace_and_acknowledgements_sets_the_frames(
    frames: float, trip: float, expected: float
) -> None:
    assert frame_rate(Demand(responses=1, tokens_per_second=40, frames_per_second=frames, round_trip=trip)) == expected


def test_a_thousand_responses_computed_by_hand() -> None:
    demand = Demand(responses=1_000, tokens_per_second=40, tokens=400, frames_per_second=5, subscribers=1, busy=0.5)
    need = capacity(demand, MEASURED)
    # 10 s a response: 50 frames of 8 tokens and 2 messages more, so 5.2 a second each.
    assert need.tokens_per_second == 40_000
    assert need.tokens_per_frame == 8
    assert need.messages_per_second == pytest.approx(5_200)
    assert need.connections == math.ceil(5_200 / 45)
    assert (need.relays, need.bound_by) == (3, "messages")
    assert need.messages_a_month == pytest.approx(5_200 * 0.5 * 30 * 86_400 * 2)
    assert need.messages_a_month_plain == pytest.approx(1_000 * 0.5 * 30 * 86_400 / 10 * 402 * 2)


def test_what_binds_is_told() -> None:
    fast = dataclasses.replace(MEASURED, messages_per_relay=1e9, connections_per_relay=10**9)
    few = dataclasses.replace(MEASURED, messages_per_relay=1e9, connections_per_relay=10)
    assert capacity(Demand(responses=100_000), fast).bound_by == "tokens"
    assert capacity(Demand(responses=100_000), few).bound_by == "connections"


@pytest.mark.parametrize("responses", [1, 100, 10_000, 1_000_000])
def test_more_responses_never_need_less(responses: int) -> None:
    less, more = capacity(Demand(responses=responses), MEASURED), capacity(Demand(responses=2 * responses), MEASURED)
    for name in ("relays", "connections", "partitions", "brokers", "messages_per_second", "messages_a_month"):
        assert getattr(more, name) >= getattr(less, name)
    assert less.partitions >= less.relays


def test_a_million_responses_fit_every_bound() -> None:
    need = capacity(Demand(responses=1_000_000), MEASURED)
    assert need.relays * MEASURED.messages_per_relay * MEASURED.utilisation >= need.messages_per_second
    assert need.connections * MEASURED.connection_rate >= need.messages_per_second
    assert need.relays * MEASURED.connections_per_relay >= need.connections
    assert need.brokers * MEASURED.broker_bytes >= need.bytes_per_second * MEASURED.replicas


def test_measured_figures_take_the_place_of_the_usual_ones() -> None:
    backlog = Result(scenario="backlog", title="", load="x", seed=1)
    backlog.add("tokens a second", 123_456, "tokens/s")
    machine = Machine(processor="", cores=2, memory_gib=1, system="", python="", kafka="", version="", load_before=0)
    measured = measured_from(Report(at="", machine=machine, results=[backlog]))
    assert measured.tokens_per_relay == 123_456
    assert measured.messages_per_relay == Measured().messages_per_relay
    assert measured_from(None) == Measured()
