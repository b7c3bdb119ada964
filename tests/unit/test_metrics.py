"""What a scrape shows."""

from prometheus_client.parser import text_string_to_metric_families

from processor.metrics import Metrics

COUNTERS = {
    "records_consumed_total", "tokens_total", "frames_published_total", "publish_failures_total", "publish_retries_total",
    "duplicates_total", "gaps_total", "dead_letters_total", "responses_started_total", "responses_finished_total",
    "snapshots_total", "archived_total", "archive_failures_total", "rebalances_total", "api_requests_total",
}  # fmt: skip
GAUGES = {
    "open_responses",
    "buffered_bytes",
    "transcript_bytes",
    "paused_partitions",
    "consumer_lag_records",
    "ably_connections",
}
HISTOGRAMS = {
    "publish_seconds", "delivery_seconds", "first_token_seconds", "response_seconds", "archive_seconds", "tokens_per_frame",
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
    samples = scraped(Metrics())
    for name, label, values in (
        ("frames_published_total", "name", ("start", "token", "part", "gap", "stop")),
        ("dead_letters_total", "reason", ("not_json", "invalid", "too_large", "store_refused")),
        ("responses_finished_total", "status", ("complete", "failed", "cancelled", "abandoned")),
        ("publish_failures_total", "code", ("42911", "80003", "timeout", "other")),
        ("ably_connections", "state", ("connected", "suspended")),
    ):
        for value in values:
            assert samples[(f"tokenstream_{name}", ((label, value),))] == 0.0


def test_unknown_publish_codes_share_one_series() -> None:
    metrics = Metrics()
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
        labels: value for (name, labels), value in scraped(metrics).items() if name == "tokenstream_api_requests_total"
    }
    route = ("route", "/v1/responses/{responseId}")
    assert requests == {(route, ("status", "200")): 2, (route, ("status", "500")): 1}


def test_a_partition_given_up_has_no_lag_any_more() -> None:
    metrics = Metrics()
    metrics.consumer_lag_records.labels("tokens", "3").set(7)
    metrics.forget_partition("tokens", 3)
    metrics.forget_partition("tokens", 4)
    assert not [name for name, _ in scraped(metrics) if name == "tokenstream_consumer_lag_records"]


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


def test_buckets_cover_the_targets() -> None:
    bounds: dict[str, list[float]] = {}
    for name, labels in scraped(Metrics()):
        if name.startswith("tokenstream_") and name.endswith("_bucket"):
            bounds.setdefault(name, []).append(float(dict(labels)["le"]))
    spans = {name: (min(found), sorted(found)[-2]) for name, found in bounds.items()}
    assert spans["tokenstream_publish_seconds_bucket"] == (0.001, 10)
    assert spans["tokenstream_delivery_seconds_bucket"] == (0.001, 60)
    assert spans["tokenstream_first_token_seconds_bucket"] == (0.001, 30)
    assert spans["tokenstream_tokens_per_frame_bucket"] == (1, 1000)
