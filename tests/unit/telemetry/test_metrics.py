"""What a scrape shows."""

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from processor.telemetry.metrics import Metrics

COUNTERS = {
    "records_consumed_total", "tokens_total", "frames_published_total", "publish_failures_total", "publish_retries_total",
    "duplicates_total", "gaps_total", "dead_letters_total", "responses_started_total", "responses_finished_total",
    "snapshots_total", "archived_total", "archive_failures_total", "rebalances_total", "api_requests_total",
    "messages_saved_total", "pace_wait_seconds_total", "takeovers_total", "transaction_retries_total",
    "event_loop_stalls_total", "probe_responses_total", "probe_tokens_total", "probe_lost_total", "probe_repeated_total",
    "probe_out_of_order_total", "retries_total", "gateway_events_total", "gateway_resets_total", "parts_dropped_total",
    "bridge_requests_total", "bridge_upstream_failures_total", "bridge_responses_lost_total",
    "cancels_total",
}  # fmt: skip
GAUGES = {
    "open_responses", "buffered_bytes", "transcript_bytes", "paused_partitions", "consumer_lag_records", "ably_connections",
    "publishes_in_flight", "owned_partitions", "consumed_offset", "committed_offset", "oldest_unsent_seconds",
    "partition_open_responses", "gateway_clients", "gateway_buffer_bytes", "gateway_transcript_bytes",
    "pace_ratio", "paces_lowered", "ready", "event_loop_lag_now_seconds", "probe_last_ok_timestamp_seconds", "build_info",
    "bridge_streams",
}  # fmt: skip
HISTOGRAMS = {
    "publish_seconds", "delivery_seconds", "first_token_seconds", "response_seconds", "archive_seconds", "tokens_per_frame",
    "consume_seconds", "queue_seconds", "stall_seconds", "takeover_seconds", "transaction_seconds",
    "event_loop_lag_seconds", "gateway_delivery_seconds", "probe_seconds", "probe_store_seconds", "bridge_first_byte_seconds",
    "cancel_seconds",
}  # fmt: skip


def scraped(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = metrics.render("text/plain")[0].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_metric_of_the_contract_is_there_by_its_name() -> None:
    text = Metrics().render("")[0].decode()
    types = dict(line.split(" ")[2:4] for line in text.splitlines() if line.startswith("# TYPE tokenstream_"))
    created = {name for name in types if name.endswith("_created")}
    expected = (
        {f"tokenstream_{name}": "counter" for name in COUNTERS}
        | {f"tokenstream_{name}": "gauge" for name in GAUGES}
        | {f"tokenstream_{name}": "histogram" for name in HISTOGRAMS}
    )
    assert {name: kind for name, kind in types.items() if name not in created} == expected


def test_known_label_values_begin_at_zero() -> None:
    metrics = Metrics()
    metrics.expect_publish_codes(frozenset({42911, 80003}))
    samples = scraped(metrics)
    for name, label, values in (
        ("frames_published_total", "name", ("start", "token", "part", "gap", "stop")),
        ("dead_letters_total", "reason", ("not_json", "invalid", "too_large", "store_refused")),
        ("responses_finished_total", "status", ("complete", "failed", "cancelled", "abandoned")),
        ("publish_failures_total", "code", ("42911", "80003", "timeout", "other")),
        ("ably_connections", "state", ("connected", "suspended")),
        ("probe_responses_total", "result", ("ok", "unsent", "incomplete", "garbled", "not_stored", "stored_differs")),
        ("cancels_total", "outcome", ("honoured", "late", "forced", "unknown")),
        ("paces_lowered", "scope", ("connection", "channel")),
    ):
        for value in values:
            assert samples[(f"tokenstream_{name}", ((label, value),))] == 0.0


def test_unknown_publish_codes_share_one_series() -> None:
    metrics = Metrics()
    metrics.expect_publish_codes(frozenset({42911}))
    for code in (42911, 0, 12345, 54321):
        metrics.count_publish_failure(code)
    samples = scraped(metrics)
    found = {
        code: samples[("tokenstream_publish_failures_total", (("code", code),))]
        for code in ("42911", "timeout", "other")
    }
    assert found == {"42911": 1, "timeout": 1, "other": 2}


def test_unknown_statuses_make_no_series_of_their_own() -> None:
    metrics = Metrics()
    for status in (200, 200, 799):
        metrics.count_api_request("/v1/responses/{responseId}", status)
    requests = {
        labels: value
        for (name, labels), value in scraped(metrics).items()
        if name == "tokenstream_api_requests_total" and value
    }
    route = ("route", "/v1/responses/{responseId}")
    assert requests == {(route, ("status", "200")): 2, (route, ("status", "500")): 1}


def test_a_partition_given_up_has_no_series_any_more() -> None:
    metrics = Metrics()
    for gauge in (
        metrics.consumer_lag_records,
        metrics.consumed_offset,
        metrics.committed_offset,
        metrics.partition_open_responses,
        metrics.oldest_unsent_seconds,
    ):
        gauge.labels("tokens", "3").set(7)
    metrics.forget_partition("tokens", 3)
    metrics.forget_partition("tokens", 4)
    assert not [name for name, labels in scraped(metrics) if "partition" in dict(labels)]


def test_two_instances_share_nothing() -> None:
    one, other = Metrics(), Metrics()
    one.tokens.inc(5)
    assert scraped(one)[("tokenstream_tokens_total", ())] == 5
    assert scraped(other)[("tokenstream_tokens_total", ())] == 0


def test_openmetrics_is_given_to_those_who_ask() -> None:
    body, content_type = Metrics().render("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    assert Metrics().render("*/*")[1].startswith("text/plain")


def test_the_process_is_measured_too() -> None:
    names = {name for name, _ in scraped(Metrics())}
    assert {"process_cpu_seconds_total", "python_info", "python_gc_collections_total"} <= names


def bounds_of(name: str) -> list[float]:
    found = [dict(labels)["le"] for each, labels in scraped(Metrics()) if each == f"tokenstream_{name}_bucket"]
    return sorted(float(bound) for bound in found)


@pytest.mark.parametrize(
    ("name", "targets", "longest"),
    [
        ("delivery_seconds", (0.003, 0.010), 300),
        ("first_token_seconds", (0.015,), 30),
        ("publish_seconds", (0.003, 0.010), 10),
        ("stall_seconds", (0.05, 1.0), 120),
        ("tokens_per_frame", (1, 100), 1000),
    ],
)
def test_each_target_is_a_bound_with_others_close_by(name: str, targets: tuple[float, ...], longest: float) -> None:
    bounds = bounds_of(name)
    assert bounds[-2:] == [longest, float("inf")]
    for target in targets:
        at = bounds.index(target)
        assert bounds[at + 1] <= 2.5 * target
        assert at == 0 or bounds[at - 1] >= target / 2.5


def test_a_histogram_is_cumulative_as_prometheus_wants_it() -> None:
    metrics = Metrics()
    for seconds in (0.0005, 0.0006, 4, 4000):
        metrics.publish_seconds.observe(seconds)
    samples = scraped(metrics)
    name = "tokenstream_publish_seconds"
    counts = [samples[(f"{name}_bucket", (("le", le),))] for le in ("0.0005", "0.001", "2.5", "5.0", "+Inf")]
    assert counts == [1, 2, 2, 3, 4]
    assert samples[(f"{name}_count", ())] == 4
    assert samples[(f"{name}_sum", ())] == pytest.approx(4004.0011)


def test_the_strict_openmetrics_parser_takes_every_family() -> None:
    metrics = Metrics()
    metrics.delivery_seconds.observe(0.004)
    metrics.consumer_lag_records.labels("tokens", "0").set(3)
    text = metrics.render("application/openmetrics-text; version=1.0.0")[0].decode()
    families = list(parse_openmetrics(text))  # type: ignore[no-untyped-call]  # its parser alone has no types
    assert len(families) > len(COUNTERS | GAUGES | HISTOGRAMS)
    assert all(family.documentation for family in families)
