"""The row of the probe: the results of its responses, and what a reader receives of them."""

from deploy.grafana.generator.model import Graph, Panel, Query, Unit
from deploy.grafana.generator.promql import RARE, increase
from deploy.grafana.generator.questions import quantiles


def probe() -> tuple[Panel, ...]:
    return (
        Graph(
            title="Probes, by result, 5 min",
            description="Synthetic responses sent end to end, and read back from the channel and the store. Any result "
            "but `ok` is what a reader can meet.",
            unit=Unit.COUNT,
            no_value="no probe",
            queries=(Query(increase("tokenstream_probe_responses_total", over=RARE, by=("result",)), "{{result}}"),),
            stacked=True,
        ),
        Graph(
            title="Probe: producer to reader",
            description="Time from the producer of a probe token to its reader, with the time of the realtime service.",
            unit=Unit.SECONDS,
            no_value="no probe",
            queries=quantiles("tokenstream_probe_seconds", over=RARE),
        ),
        Graph(
            title="Probe: tokens lost, repeated, out of order, 5 min",
            description="As a reader of the channel received them. Any value above zero is a fault.",
            unit=Unit.COUNT,
            no_value="no probe",
            queries=tuple(
                Query(increase(f"tokenstream_probe_{name}_total", over=RARE), name.replace("_", " "))
                for name in ("lost", "repeated", "out_of_order")
            ),
            stacked=True,
        ),
    )
