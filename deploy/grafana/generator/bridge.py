"""The bridge's board: the requests of callers, and what the model server and Kafka do to its responses."""

from deploy.grafana.generator.model import Graph, Heat, Levels, Panel, Query, Unit
from deploy.grafana.generator.promql import rate, series, total

NO_BRIDGE = "no bridge"


def bridge() -> tuple[Panel, ...]:
    return (
        Graph(
            title="Requests to the bridge, by status",
            description="Requests answered. 503: the bridge is at BRIDGE_MAX_STREAMS, or Kafka does not answer. 502: the "
            "model server failed. 499: the caller closed the connection.",
            unit=Unit.RATE,
            no_value=NO_BRIDGE,
            queries=(Query(rate("tokenstream_bridge_requests_total", by=("status",)), "{{status}}"),),
        ),
        Graph(
            title="Responses in progress",
            description="Responses that bridges write now. A bridge has at most BRIDGE_MAX_STREAMS.",
            unit=Unit.COUNT,
            no_value=NO_BRIDGE,
            queries=(Query(total(series("tokenstream_bridge_streams")), "responses"),),
        ),
        Heat(
            title="First byte of the model server",
            description="Time from a request to the first byte of the model server's answer.",
            unit=Unit.SECONDS,
            no_value=NO_BRIDGE,
            queries=(Query(rate("tokenstream_bridge_first_byte_seconds_bucket", by=("le",)), "{{le}}"),),
        ),
        Graph(
            title="Failures of the model server, by cause",
            description="Answers of the model server that were refusals or incomplete. Their responses end with reason "
            "`error`.",
            unit=Unit.RATE,
            no_value=NO_BRIDGE,
            queries=(Query(rate("tokenstream_bridge_upstream_failures_total", by=("cause",)), "{{cause}}"),),
        ),
        Graph(
            title="Responses lost by the bridge",
            description="Responses of which Kafka did not accept every record. They are complete for callers, and failed "
            "for readers.",
            unit=Unit.RATE,
            no_value=NO_BRIDGE,
            queries=(Query(rate("tokenstream_bridge_responses_lost_total"), "responses"),),
            levels=Levels(bad=0.001),
        ),
    )
