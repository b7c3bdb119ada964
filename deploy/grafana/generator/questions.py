"""Queries that several boards share."""

from deploy.grafana.generator.model import Query
from deploy.grafana.generator.promql import SELECTED, WINDOW, gauge, highest, increase, quantile, rate, series, total

PARTITION = ("topic", "partition")
PROCESS = ("pod", "instance")
BY_PROCESS = "{{pod}} {{instance}}"
BY_PARTITION = "{{topic}} {{partition}}"

TOKENS_IN = rate("tokenstream_tokens_total")
TOKENS_OUT = rate("tokenstream_tokens_per_frame_sum")
REFUSED = rate("tokenstream_publish_failures_total")
REFUSED_BY_CODE = f"{rate('tokenstream_publish_failures_total', by=('code',))} > 0"
OLDEST_UNSENT = highest("tokenstream_oldest_unsent_seconds")
NOT_CONNECTED = gauge("tokenstream_ably_connections", 'state!~"connected|closed|initialized"')
FAILING = total(f"1 - {series('tokenstream_ready')}")
FAILING_BY_DEPENDENCY = total(f"1 - {series('tokenstream_ready')}", by=("dependency",))
_HARM = " + ".join(
    increase(f"tokenstream_probe_{harm}_total", over="1h") for harm in ("lost", "repeated", "out_of_order")
)
PROBE_HARM = f"({_HARM}) and on () ({increase('tokenstream_probe_responses_total', over='1h')} > 0)"
"""Has no answer without a probe in the last hour: a zero would mean that all is well."""

# Relay and archive count their lag alike, and topics may have any name: those a relay reads have unsent tokens, or none, by partition.
_LAG = series("tokenstream_consumer_lag_records")
_RELAYED = f"on (topic) group by (topic) (tokenstream_oldest_unsent_seconds{{{SELECTED}}})"
RELAY_LAG = f"{_LAG} and {_RELAYED}"
ARCHIVE_LAG = f"{_LAG} unless {_RELAYED}"


def most(count: int, expr: str) -> str:
    """The highest few of many series."""
    return f"topk({count}, {expr})"


def quantiles(histogram: str, over: str = WINDOW) -> tuple[Query, ...]:
    return tuple(Query(quantile(part, histogram, over=over), f"p{part * 100:g}") for part in (0.5, 0.95, 0.99))
