"""Every metric of the process, declared once, on a registry of its own.

Names are public. No label carries a responseId or a channel name; labels but topic and partition start at zero for all values.
"""

from bisect import bisect_right
from collections import Counter as Tallied
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from importlib.metadata import version
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from processor.ports.realtime import LinkState
from topics.records import Reason, Status

FRAME_NAMES: Final = ("start", "token", "part", "gap", "stop")
FINISHED: Final = tuple(status for status in Status if status.finished)
API_ROUTES: Final = (
    "/v1/responses/{responseId}",
    "/v1/responses/{responseId}/cancel",
    "/v1/channels/{channel}/responses",
    "/v1/channels/{channel}/hydrate",
    "/v1/responses",
    "/v1/hydrate",
    "/v1/openapi.json",
    "/v1/events",
    "/v1/channels/{channel}/events",
    "/v1/responses/{responseId}/events",
    "unknown",
)
_API_STATUSES: Final = ("200", "400", "401", "403", "404", "500", "503", "504")
CANCEL_OUTCOMES: Final = (
    "honoured",  # the producer ended the response with the reason `cancelled`
    "late",  # it had ended, or was ended by another stop
    "forced",  # no stop came in time: the relay ended it
    "unknown",  # the api knew no such response, and was given no channel
)
PROBE_RESULTS: Final = (
    "ok",  # received whole and in order, and the stored record equals it
    "unsent",  # Kafka did not take it, or the channel could not be followed: nothing is known of what follows
    "incomplete",  # not received to its end before the deadline
    "garbled",  # tokens lost, repeated or out of order in what a reader shows
    "not_stored",  # received, but the store had no finished record of it before the deadline
    "stored_differs",  # the stored record is not what was sent
)
RETRIED: Final = (
    "archive_dead_letters",  # the archive writes what cannot be stored to the dead letters
    "archive_read",  # the archive connects to Kafka again
    "ask_broker",  # the relay asks a broker for records, which did not answer or refused a partition
    "bridge_kafka",  # the bridge connects to Kafka
    "controls",  # the relay reads the controls topic
    "fetch",  # the relay reads the tokens topic
    "join",  # the relay connects to Kafka
    "gateway_feed",  # the gateway reads a topic
    "notice",  # the relay writes a notice for a producer to the controls topic
    "open_store",
    "read_record",  # the relay reads the text of an open response back
    "realtime_link",  # a relay's link to the realtime service connects again
    "store",
    "takeover",
    "transaction",
    "verify_topics",
)
BRIDGE_STATUSES: Final = (
    *("200", "202", "400", "401", "403", "404", "408", "409", "413", "429", "499", "500", "502", "503", "504"),
    "other",
)
BRIDGE_CAUSES: Final = ("unreachable", "refused", "not_a_stream", "timeout", "broken", "incomplete", "error")
PACES: Final = ("connection", "channel")

# Upper bounds, in seconds. Close together where the targets are: delivery 3 ms (p50) and 10 ms (p99), a first token 15 ms (p99).
_FINE: Final = (0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1)
_STEP: Final = (*_FINE, 0.25, 0.5, 1, 2.5, 5, 10)
_DELIVERY: Final = (*_STEP, 30, 60, 300)
_STALL: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_RESPONSE: Final = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
_STORE: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LOOP: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_PROBE: Final = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKENS: Final = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


class Histogram:
    """A histogram for one event loop. An observation is an append to a list; sorting them in is done all at once, by `fold`."""

    __slots__ = ("_bounds", "_counts", "_family", "_new", "_sum", "observe")

    def __init__(self, name: str, help_text: str, registry: CollectorRegistry, bounds: tuple[float, ...]) -> None:
        self._family = (name, help_text)
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._new: list[float] = []
        self.observe: Callable[[float], None] = self._new.append
        registry.register(self)

    def fold(self) -> None:
        new = sorted(self._new)
        self._new.clear()
        self._sum += sum(new)
        below = 0
        for index, bound in enumerate(self._bounds):
            up_to = bisect_right(new, bound)
            self._counts[index] += up_to - below
            below = up_to
        self._counts[-1] += len(new) - below

    @property
    def count(self) -> int:
        return sum(self._counts) + len(self._new)

    @property
    def sum(self) -> float:
        return self._sum + sum(self._new)

    def describe(self) -> Iterator[HistogramMetricFamily]:
        yield HistogramMetricFamily(*self._family)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        self.fold()
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(*self._family, buckets=buckets, sum_value=self._sum)


class Tally:
    """A counter with one label for one event loop: `count(value)` is an append, as for Histogram."""

    __slots__ = ("_counts", "_family", "_new", "count")

    def __init__(
        self, name: str, help_text: str, registry: CollectorRegistry, label: str, values: Iterable[str]
    ) -> None:
        self._family = (name, help_text, label)
        self._counts = dict.fromkeys(values, 0)
        self._new: list[str] = []
        self.count: Callable[[str], None] = self._new.append
        registry.register(self)

    def fold(self) -> None:
        for value, times in Tallied(self._new).items():
            self._counts[value] += times
        self._new.clear()

    def describe(self) -> Iterator[CounterMetricFamily]:
        name, help_text, label = self._family
        yield CounterMetricFamily(name, help_text, labels=(label,))

    def collect(self) -> Iterator[CounterMetricFamily]:
        self.fold()
        for family in self.describe():
            for value, times in self._counts.items():
                family.add_metric((value,), times)
            yield family


class Saved:
    """Tokens carried less the frames that carried them: what a message for each token would have taken more."""

    def __init__(self, registry: CollectorRegistry, tokens_per_frame: Histogram) -> None:
        self._tokens = tokens_per_frame
        registry.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        saved = self._tokens.sum - self._tokens.count
        help_text = "Messages saved by roll-up."
        yield CounterMetricFamily("tokenstream_messages_saved", help_text, value=saved)


class Metrics:
    """One instance a process, built in the composition root and handed down; tests build their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._folded: list[Histogram | Tally] = []
        self._declare_counters()
        self._folded.append(self.frames_published)
        self._declare_gauges()
        self._declare_histograms()

    def _declare_counters(self) -> None:
        self.records_consumed = self._counter("records_consumed", "Records read from the tokens topic.")
        self.tokens = self._counter("tokens", "Valid token events accepted.")
        self.frames_published = Tally(
            "tokenstream_frames_published", "Frames acknowledged.", self.registry, "name", FRAME_NAMES
        )
        self.publish_failures = self._counter(
            "publish_failures",
            "Publishes refused or not answered, by the realtime service's code.",
            code=("timeout", "other"),
        )
        self._publish_codes: frozenset[int] = frozenset()
        self.publish_retries = self._counter("publish_retries", "Frames published again, with the same id.")
        self.pace_wait_seconds = self._counter("pace_wait_seconds", "Time that channels waited for the rate limiter.")
        self.duplicates = self._counter("duplicates", "Records dropped because their event was accepted before.")
        self.gaps = self._counter("gaps", "Ranges of sequence numbers announced as lost.")
        self.dead_letters = self._counter("dead_letters", "Records written to the dead letters.", reason=Reason)
        self.responses_started = self._counter("responses_started", "Responses opened.")
        self.responses_finished = self._counter("responses_finished", "Responses ended.", status=FINISHED)
        self.parts_dropped = self._counter(
            "parts_dropped", "Deltas in OpenAI's format of parts beyond the 64 that a response may have."
        )
        self.cancels = self._counter("cancels", "Cancels, by outcome.", outcome=CANCEL_OUTCOMES)
        self.snapshots = self._counter("snapshots", "Streaming records written to the responses topic.")
        self.archived = self._counter("archived", "Records stored.", status=Status)
        self.archive_failures = self._counter("archive_failures", "Attempts to store a batch that failed.")
        self.rebalances = self._counter("rebalances", "Assignments received from the consumer group.")
        self.takeovers = self._counter("takeovers", "Partitions taken over.")
        self.transaction_retries = self._counter("transaction_retries", "Kafka transactions that were retried.")
        self.retries = self._counter("retries", "Operations that were retried.", operation=RETRIED)
        self.event_loop_stalls = self._counter("event_loop_stalls", "Times the event loop was blocked for seconds.")
        self.probe_responses = self._counter("probe_responses", "Probes sent, by result.", result=PROBE_RESULTS)
        self.probe_tokens = self._counter("probe_tokens", "Tokens of probes received.")
        self.probe_lost = self._counter("probe_lost", "Tokens of probes that never reached the reader.")
        self.probe_repeated = self._counter("probe_repeated", "Tokens of probes that the reader showed more than once.")
        self.probe_out_of_order = self._counter("probe_out_of_order", "Tokens of probes shown before an earlier one.")
        self.gateway_events = self._counter("gateway_events", "Events written to readers, with repeated snapshots.")
        self.gateway_resets = self._counter("gateway_resets", "Readers that lost their position and got snapshots.")
        self.bridge_requests = self._counter(
            "bridge_requests", "Requests that the bridge answered.", status=BRIDGE_STATUSES
        )
        self.bridge_upstream_failures = self._counter(
            "bridge_upstream_failures",
            "Answers of the model server that were refusals or incomplete.",
            cause=BRIDGE_CAUSES,
        )
        self.bridge_responses_lost = self._counter(
            "bridge_responses_lost", "Responses of which Kafka did not accept every record."
        )
        self.api_requests = Counter(
            "tokenstream_api_requests", "HTTP requests answered.", ("route", "status"), registry=self.registry
        )
        for route in API_ROUTES:
            for status in _API_STATUSES:
                self.api_requests.labels(route, status)

    def _declare_gauges(self) -> None:
        partition = ("topic", "partition")
        self.open_responses = self._gauge("open_responses", "Responses open on the partitions owned.")
        self.buffered_bytes = self._gauge("buffered_bytes", "Unsent text and held early tokens.")
        self.transcript_bytes = self._gauge("transcript_bytes", "Texts of open responses held in memory.")
        self.publishes_in_flight = self._gauge("publishes_in_flight", "Frames sent and not acknowledged.")
        self.owned_partitions = self._gauge("owned_partitions", "Partitions that this process relays.")
        self.paused_partitions = self._gauge(
            "paused_partitions", "Partitions paused because their memory budget is used up."
        )
        self.consumer_lag_records = self._gauge(
            "consumer_lag_records", "Records between the position and the log's end.", partition
        )
        self.consumed_offset = self._gauge(
            "consumed_offset", "Next offset to read; does not advance on a partition that is stuck.", partition
        )
        self.committed_offset = self._gauge("committed_offset", "Offset below which all is durable.", partition)
        self.partition_open_responses = self._gauge(
            "partition_open_responses", "Responses open, by partition.", partition
        )
        self.oldest_unsent_seconds = self._gauge(
            "oldest_unsent_seconds", "Time since the oldest unacknowledged token was read; 0 without one.", partition
        )
        self.of_a_partition = (
            self.consumer_lag_records,
            self.consumed_offset,
            self.committed_offset,
            self.partition_open_responses,
            self.oldest_unsent_seconds,
        )
        self.pace_ratio = self._gauge(
            "pace_ratio",
            "Lowest current rate as a share of the configured one: below 1 after rate-limit refusals.",
            ("scope",),
        )
        self.paces_lowered = self._gauge(
            "paces_lowered", "Connections or channels below their configured rate.", ("scope",)
        )
        for scope in PACES:
            self.pace_ratio.labels(scope).set(1)
            self.paces_lowered.labels(scope)
        self.realtime_connections = self._gauge(
            "ably_connections", "Connections to the realtime service, by state.", ("state",)
        )
        for state in LinkState:
            self.realtime_connections.labels(state)
        self.gateway_clients = self._gauge("gateway_clients", "Readers connected to the gateway.")
        self.gateway_buffer_bytes = self._gauge(
            "gateway_buffer_bytes", "Frames that the gateway holds to resume readers."
        )
        self.gateway_transcript_bytes = self._gauge(
            "gateway_transcript_bytes", "Texts and records that the gateway holds in memory."
        )
        self.ready = self._gauge("ready", "1 if the dependencies of this process work.", ("dependency",))
        self.event_loop_lag_now = self._gauge("event_loop_lag_now_seconds", "Latest value of event_loop_lag_seconds.")
        self.probe_last_ok = self._gauge(
            "probe_last_ok_timestamp_seconds", "Time at which the last successful probe ended."
        )
        self.bridge_streams = self._gauge("bridge_streams", "Responses that the bridge is writing.")
        self.build_info = self._gauge("build_info", "1, for the running version.", ("version",))
        self.build_info.labels(version("tokenstream")).set(1)

    def _declare_histograms(self) -> None:
        """Of tokens, each frame's oldest is measured: what a reader waited longest for."""
        histogram = self._histogram
        self.consume_seconds = histogram("consume_seconds", "Time from a token's ts until it is read.", _DELIVERY)
        self.queue_seconds = histogram("queue_seconds", "Time from reading a token until its frame is sent.", _DELIVERY)
        self.publish_seconds = histogram("publish_seconds", "Time from sending a frame to its acknowledgement.", _STEP)
        self.delivery_seconds = histogram(
            "delivery_seconds",
            "Time from a token's ts to its frame's acknowledgement: the sum of the three.",
            _DELIVERY,
        )
        self.first_token_seconds = histogram(
            "first_token_seconds", "Time from reading a start to the acknowledgement of the first token.", (*_STEP, 30)
        )
        self.stall_seconds = histogram(
            "stall_seconds", "Time between two acknowledged frames of an open response.", _STALL
        )
        self.response_seconds = histogram("response_seconds", "Time from a response's start to its end.", _RESPONSE)
        self.cancel_seconds = histogram(
            "cancel_seconds", "Time from the request for a cancel to the acknowledgement of the stop it led to.", _PROBE
        )
        self.tokens_per_frame = histogram("tokens_per_frame", "Tokens rolled up into one frame.", _TOKENS)
        Saved(self.registry, self.tokens_per_frame)
        self.takeover_seconds = histogram("takeover_seconds", "Time to take over a partition.", _STORE)
        self.transaction_seconds = histogram("transaction_seconds", "Duration of a Kafka transaction.", _STORE)
        self.gateway_delivery_seconds = histogram(
            "gateway_delivery_seconds",
            "Time from a frame's ts until it is written to its last reader's socket.",
            _DELIVERY,
        )
        self.archive_seconds = histogram("archive_seconds", "Time to store a batch.", _STORE)
        self.bridge_first_byte_seconds = histogram(
            "bridge_first_byte_seconds", "Time from a request to the model server's first byte.", (*_STEP, 30, 60)
        )
        self.event_loop_lag_seconds = histogram("event_loop_lag_seconds", "How late the event loop ran a timer.", _LOOP)
        self.probe_seconds = histogram(
            "probe_seconds", "Time from producing a probe's token until a reader has it.", _PROBE
        )
        self.probe_store_seconds = histogram(
            "probe_store_seconds", "Time from producing a probe's stop until its final record is in the store.", _PROBE
        )

    def _counter(self, name: str, help_text: str, /, **values: Iterable[str]) -> Counter:
        """A counter with at most one label, zero for each of the label's values."""
        counter = Counter(f"tokenstream_{name}", help_text, tuple(values), registry=self.registry)
        for known in values.values():
            for value in known:
                counter.labels(str(value))
        return counter

    def _gauge(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"tokenstream_{name}", help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, bounds: tuple[float, ...]) -> Histogram:
        made = Histogram(f"tokenstream_{name}", help_text, self.registry, bounds)
        self._folded.append(made)
        return made

    def expect_publish_codes(self, codes: frozenset[int]) -> None:
        """Gives each of these codes of the realtime service a series of its own, from zero on."""
        self._publish_codes = codes
        for code in sorted(codes):
            self.publish_failures.labels(str(code))

    def count_publish_failure(self, code: int) -> None:
        """`code` is the realtime service's, or 0 where no answer came in time. Codes that are not expected count as `other`."""
        label = str(code) if code in self._publish_codes else "other"
        self.publish_failures.labels(label if code else "timeout").inc()

    def count_api_request(self, route: str, status: int) -> None:
        """`route` is the pattern of a route, never a path asked for; statuses no server of ours gives count as 500."""
        try:
            known = HTTPStatus(status)
        except ValueError:
            known = HTTPStatus.INTERNAL_SERVER_ERROR
        self.api_requests.labels(route, str(known.value)).inc()

    def fold(self) -> None:
        """To be called every few seconds, so that observations take no memory where nobody scrapes."""
        for metric in self._folded:
            metric.fold()

    def forget_partition(self, topic: str, partition: int) -> None:
        """End the series of a partition given up, so that nobody alerts on their last values."""
        for gauge in self.of_a_partition:
            gauge.remove(topic, str(partition))

    def render(self, accept: str) -> tuple[bytes, str]:
        """The scrape's body and content type: OpenMetrics where `accept` asks for it, Prometheus text otherwise."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self.registry), content_type
