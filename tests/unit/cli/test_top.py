"""The figures from two readings of the metrics."""

import pytest
from prometheus_client.exposition import generate_latest

from processor.cli.top import between, look_at
from processor.telemetry.metrics import Metrics


def text_of(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def test_rates_latencies_lag_and_states_are_told_over_all_processes() -> None:
    one, other = Metrics(), Metrics()
    before = look_at([text_of(one), text_of(other)])
    one.tokens.inc(30)
    other.tokens.inc(10)
    for _ in range(8):
        one.frames_published.count("token")
    one.open_responses.set(3)
    other.open_responses.set(4)
    one.consumer_lag_records.labels("tokens", "2").set(7)
    one.partition_open_responses.labels("tokens", "2").set(3)
    one.oldest_unsent_seconds.labels("tokens", "2").set(1.5)
    for _ in range(10):
        one.delivery_seconds.observe(0.03)
    now = between(before, look_at([text_of(one), text_of(other)]), 2.0)
    assert (now.rates["tokens"], now.rates["frames"], now.gauges["openResponses"]) == (20.0, 4.0, 7.0)
    assert (now.lag, now.open_responses, now.oldest) == tuple({("tokens", 2): n} for n in (7.0, 3.0, 1.5))
    delivery = now.latencies["delivery"]
    assert delivery is not None
    assert 0.025 <= delivery[0] <= delivery[1] <= 0.05
    assert now.latencies["publish"] is None


def test_a_restarted_process_counts_from_zero() -> None:
    old, new = Metrics(), Metrics()
    old.tokens.inc(1000)
    old.publish_seconds.observe(1)
    old.publish_seconds.observe(1)
    new.tokens.inc(10)
    new.publish_seconds.observe(0.002)
    now = between(look_at([text_of(old)]), look_at([text_of(new)]), 1.0)
    assert now.rates["tokens"] == 10.0
    publish = now.latencies["publish"]
    assert publish is not None
    assert publish[1] <= 0.0025


def test_what_is_beyond_the_last_bucket_is_told_as_its_bound() -> None:
    metrics = Metrics()
    before = look_at([text_of(metrics)])
    metrics.publish_seconds.observe(1_000)
    assert between(before, look_at([text_of(metrics)]), 1.0).latencies["publish"] == (10.0, 10.0)


def test_what_is_no_metrics_is_refused() -> None:
    with pytest.raises(ValueError, match=r".*"):
        look_at(["<html>no such page</html> x"])
