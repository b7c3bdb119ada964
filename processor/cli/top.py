"""Computes what processes are doing from two readings of their metrics. Pure; the command fetches and draws."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

PREFIX = "tokenstream_"
RATES = {
    "tokens": "tokens_total",
    "frames": "frames_published_total",
    "retries": "publish_retries_total",
    "failures": "publish_failures_total",
    "deadLetters": "dead_letters_total",
    "archived": "archived_total",
}
GAUGES = {
    "openResponses": "open_responses",
    "pausedPartitions": "paused_partitions",
    "bufferedBytes": "buffered_bytes",
}
LATENCIES = {"delivery": "delivery_seconds", "publish": "publish_seconds", "firstToken": "first_token_seconds"}
LAG = "consumer_lag_records"
OPEN = "partition_open_responses"
OLDEST = "oldest_unsent_seconds"

Place = tuple[str, int]
"""A topic, and the number of its partition."""


@dataclass(slots=True)
class Look:
    """Sums over all processes looked at. `buckets` are cumulative, by upper bound; `places` are by metric and partition."""

    values: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    buckets: dict[str, dict[float, float]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(float)))
    places: dict[str, dict[Place, float]] = field(default_factory=lambda: {LAG: {}, OPEN: {}, OLDEST: {}})


@dataclass(frozen=True, slots=True)
class Now:
    """`rates` are a second; `latencies` (p50, p95) in seconds, None where nothing happened in between; `oldest` in seconds."""

    rates: Mapping[str, float]
    gauges: Mapping[str, float]
    latencies: Mapping[str, tuple[float, float] | None]
    lag: Mapping[Place, float]
    open_responses: Mapping[Place, float]
    oldest: Mapping[Place, float]


def look_at(texts: Iterable[str]) -> Look:
    """Of each process's `/metrics`, as text. Raises ValueError where one is no metrics."""
    look = Look()
    for text in texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name.removeprefix(PREFIX)
                if name in look.places:
                    # A partition may be seen by its old and its new owner.
                    place = sample.labels["topic"], int(sample.labels["partition"])
                    known = look.places[name]
                    known[place] = max(known.get(place, 0.0), sample.value)
                elif name.endswith("_bucket"):
                    look.buckets[name.removesuffix("_bucket")][float(sample.labels["le"])] += sample.value
                else:
                    look.values[name] += sample.value
    return look


def between(before: Look, after: Look, seconds: float) -> Now:
    """A counter that fell was restarted: it counts from zero."""
    return Now(
        rates={name: _grown(before.values, after.values, metric) / seconds for name, metric in RATES.items()},
        gauges={name: after.values.get(metric, 0.0) for name, metric in GAUGES.items()},
        latencies={
            name: _quantiles(before.buckets.get(metric, {}), after.buckets.get(metric, {}))
            for name, metric in LATENCIES.items()
        },
        lag=dict(sorted(after.places[LAG].items())),
        open_responses=after.places[OPEN],
        oldest=after.places[OLDEST],
    )


def _grown(before: Mapping[str, float], after: Mapping[str, float], name: str) -> float:
    now, then = after.get(name, 0.0), before.get(name, 0.0)
    return now - then if now >= then else now


def _quantiles(before: Mapping[float, float], after: Mapping[float, float]) -> tuple[float, float] | None:
    restarted = any(after[bound] < before.get(bound, 0.0) for bound in after)
    grown = {bound: after[bound] - (0.0 if restarted else before.get(bound, 0.0)) for bound in sorted(after)}
    if not grown or not grown[max(grown)]:
        return None
    return _quantile(grown, 0.5), _quantile(grown, 0.95)


def _quantile(cumulative: Mapping[float, float], share: float) -> float:
    """As Prometheus' histogram_quantile: linear within a bucket; in the last, its lower bound."""
    wanted = share * cumulative[max(cumulative)]
    low, counted = 0.0, 0.0
    for bound, count in sorted(cumulative.items()):
        if count >= wanted:
            if math.isinf(bound):
                return low
            return low + (bound - low) * (wanted - counted) / (count - counted) if count > counted else bound
        low, counted = bound, count
    return low
