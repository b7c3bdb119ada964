"""The series of the bridge exist from the start, so that a rate over them is right from the first event on."""

from processor.bridge.measures import BridgeMeasures
from processor.bridge.upstream import Cause
from processor.telemetry.metrics import BRIDGE_CAUSES, Metrics


def shown(metrics: Metrics) -> str:
    return metrics.render("")[0].decode()


def test_every_cause_has_a_series() -> None:
    assert tuple(Cause) == BRIDGE_CAUSES
    assert all(f'bridge_upstream_failures_total{{cause="{cause}"}} 0.0' in shown(Metrics()) for cause in Cause)


def test_an_unusual_status_counts_as_other() -> None:
    metrics = Metrics()
    BridgeMeasures(metrics).answered(418)
    BridgeMeasures(metrics).answered(502)
    assert 'bridge_requests_total{status="other"} 1.0' in shown(metrics)
    assert 'bridge_requests_total{status="502"} 1.0' in shown(metrics)
