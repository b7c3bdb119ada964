"""The metrics of the bridge."""

from typing import Final

from processor.bridge.upstream import Cause
from processor.telemetry.metrics import BRIDGE_STATUSES, Metrics

_OTHER: Final = "other"


class BridgeMeasures:
    """Every series starts at zero, so that a rate over it is right from the first event on."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def answered(self, status: int) -> None:
        """A model server's own status may be any number."""
        self._metrics.bridge_requests.labels(str(status) if str(status) in BRIDGE_STATUSES else _OTHER).inc()

    def upstream_failed(self, cause: Cause) -> None:
        self._metrics.bridge_upstream_failures.labels(cause).inc()

    def lost(self) -> None:
        self._metrics.bridge_responses_lost.inc()

    def first_byte(self, seconds: float) -> None:
        self._metrics.bridge_first_byte_seconds.observe(seconds)

    def open_streams(self, number: int) -> None:
        self._metrics.bridge_streams.set(number)
