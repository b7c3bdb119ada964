"""Every metric of the process, declared once, on a registry of its own.

Names are public. No label ever carries a responseId or a channel name; every label but topic and partition has a set of values
known beforehand, and starts at zero for each, so that a rate over it is right from the first event on.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from topics.records import Reason, Status

FRAME_NAMES: Final = ("start", "token", "part", "gap", "stop")
FINISHED: Final = tuple(status for status in Status if status.finished)
CONNECTION_STATES: Final = (
    "initialized",
    "connecting",
    "connected",
    "disconnected",
    "suspended",
    "closing",
    "closed",
    "failed",
)
PUBLISH_CODES: Final = frozenset(
    {
        "timeout",  # no answer came in time, or the connection it was sent on ended
        *("40009", "40012", "40031", "40034"),  # the message, or its ids, refused
        *("40101", "40111", "40112", "40114", "40115", "40142", "40160", "40171"),  # credentials, capability, quotas
        *("42910", "42911", "42912", "42913", "42914", "42917", "42918"),  # rates: account, connection, channel
        *("42920", "42921", "42922", "42924"),  # rates broken badly enough to end the connection
        *("50000", "50003"),  # Ably's own failures
        *("80000", "80002", "80003", "80008", "80014", "80017", "80019"),  # the connection
        *("90000", "90001", "90003", "90007", "90010", "93002"),  # the channel
    }
)
"""Codes with a time series of their own; any other is counted as `other`."""

_PUBLISH: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_DELIVERY: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_FIRST_TOKEN: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_RESPONSE: Final = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_ARCHIVE: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKENS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """One instance a process, built in the composition root and handed down; tests build their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._declare_counters()
        self._declare_gauges()
        self._declare_histograms()

    def _declare_counters(self) -> None:
        self.records_consumed = self._counter("records_consumed", "Records read from the tokens topic.")
        self.tokens = self._counter("tokens", "Valid token events taken in.")
        self.frames_published = self._counter("frames_published", "Frames acknowledged.", name=FRAME_NAMES)
        self.publish_failures = self._counter(
            "publish_failures",
            "Publishes refused or unanswered, by Ably's code.",
            code=(*sorted(PUBLISH_CODES), "other"),
        )
        self.publish_retries = self._counter("publish_retries", "Frames sent once more, with the same id.")
        self.duplicates = self._counter("duplicates", "Records dropped because their event was taken in before.")
        self.gaps = self._counter("gaps", "Ranges of sequence numbers announced as lost.")
        self.dead_letters = self._counter("dead_letters", "Records put to the dead letters.", reason=Reason)
        self.responses_started = self._counter("responses_started", "Responses opened.")
        self.responses_finished = self._counter("responses_finished", "Responses ended.", status=FINISHED)
        self.snapshots = self._counter("snapshots", "Streaming records written to the responses topic.")
        self.archived = self._counter("archived", "Records stored.", status=Status)
        self.archive_failures = self._counter("archive_failures", "Attempts to store a batch that failed.")
        self.rebalances = self._counter("rebalances", "Assignments received from the consumer group.")
        self.api_requests = Counter(
            "tokenstream_api_requests", "HTTP requests answered.", ("route", "status"), registry=self.registry
        )

    def _declare_gauges(self) -> None:
        self.open_responses = self._gauge("open_responses", "Responses open on the partitions owned.")
        self.buffered_bytes = self._gauge("buffered_bytes", "Unsent text and held early tokens.")
        self.transcript_bytes = self._gauge("transcript_bytes", "Texts of open responses held in memory.")
        self.paused_partitions = self._gauge(
            "paused_partitions", "Partitions not read for now, their budget being used."
        )
        self.consumer_lag_records = self._gauge(
            "consumer_lag_records", "Records between the position and the log's end.", ("topic", "partition")
        )
        self.ably_connections = self._gauge("ably_connections", "Connections to Ably, by state.", ("state",))
        for state in CONNECTION_STATES:
            self.ably_connections.labels(state)

    def _declare_histograms(self) -> None:
        self.publish_seconds = self._histogram(
            "publish_seconds", "From sending a frame to its acknowledgement.", _PUBLISH
        )
        self.delivery_seconds = self._histogram(
            "delivery_seconds", "From a token's ts to its frame's acknowledgement.", _DELIVERY
        )
        self.first_token_seconds = self._histogram(
            "first_token_seconds", "From reading a start to the acknowledgement of the first token.", _FIRST_TOKEN
        )
        self.response_seconds = self._histogram("response_seconds", "From a response's start to its end.", _RESPONSE)
        self.archive_seconds = self._histogram("archive_seconds", "Time a batch took to store.", _ARCHIVE)
        self.tokens_per_frame = self._histogram("tokens_per_frame", "Tokens rolled up into one frame.", _TOKENS)

    def _counter(self, name: str, help_text: str, /, **values: Iterable[str]) -> Counter:
        """A counter with at most one label, zero for each of the label's values."""
        counter = Counter(f"tokenstream_{name}", help_text, tuple(values), registry=self.registry)
        for known in values.values():
            for value in known:
                counter.labels(str(value))
        return counter

    def _gauge(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"tokenstream_{name}", help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"tokenstream_{name}", help_text, registry=self.registry, buckets=buckets)

    def count_publish_failure(self, code: int) -> None:
        """`code` is Ably's, or 0 where no answer came. Codes without a series of their own count as `other`."""
        label = str(code) if code else "timeout"
        self.publish_failures.labels(label if label in PUBLISH_CODES else "other").inc()

    def count_api_request(self, route: str, status: int) -> None:
        """`route` is the pattern of a route, never a path asked for; statuses no server of ours gives count as 500."""
        try:
            known = HTTPStatus(status)
        except ValueError:
            known = HTTPStatus.INTERNAL_SERVER_ERROR
        self.api_requests.labels(route, str(known.value)).inc()

    def forget_partition(self, topic: str, partition: int) -> None:
        """End the lag series of a partition given up, so that nobody alerts on its last value."""
        self.consumer_lag_records.remove(topic, str(partition))

    def render(self, accept: str) -> tuple[bytes, str]:
        """The scrape's body and content type: OpenMetrics where `accept` asks for it, Prometheus text otherwise."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self.registry), content_type
