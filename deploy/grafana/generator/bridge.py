"""The bridge's board: the requests of callers, and what the model server and Kafka do to its responses."""

from deploy.grafana.generator.model import Graph, Heat, Levels, Panel, Query, Unit
from deploy.grafana.generator.promql import rate, series, total

NO_BRIDGE = "no bridge"


def bridge() -> tuple[Panel, ...]:
    return (
        Graph(
            title="Requests to the bridge, by status",
            description="Requests answered. 503 is a bridge at BRIDGE_MAX_STREAMS or without Kafka, 502 a model server that failed, 499 a caller that went away.",
            unit=Unit.RATE,
            no_value=NO_BRIDGE,
            queries=(Query(rate("tokenstream_bridge_requests_total", by=("status",)), "{{status}}"),),
        ),
        Graph(
            title="Responses being written",
            description="Responses that bridges are writing. BRIDGE_MAX_STREAMS bounds those of one bridge.",
            unit=Unit.COUNT,
            no_value=NO_BRIDGE,
            queries=(Query(total(series("tokenstream_bridge_streams")), "responses"),),
        ),
        Heat(
            title="First byte of the model server",
            description="From a request to the model server's first byte.",
            unit=Unit.SECONDS,
            no_value=NO_BRIDGE,
            queries=(Query(rate("tokenstream_bridge_first_byte_seconds_bucket", by=("le",)), "{{le}}"),),
        ),
        Graph(
            title="Failures of the model server, by cause",
            description="Answers of the model server that were refused or not whole. Their responses end with reason error.",
            unit=Unit.RATE,
            no_value=NO_BRIDGE,
            queries=(Query(rate("tokenstream_bridge_upstream_failures_total", by=("cause",)), "{{cause}}"),),
        ),
        Graph(
            title="Responses lost by the bridge",
            description="Responses of which Kafka did not take every record. Callers got them whole; readers did not.",
            unit=Unit.RATE,
            no_value=NO_BRIDGE,
            queries=(Query(rate("tokenstream_bridge_responses_lost_total"), "responses"),),
            levels=Levels(bad=0.001),
        ),
    )
