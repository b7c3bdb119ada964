"""Where a relay of a test shows what its partitions hold: nowhere."""

from collections.abc import Mapping

from processor.relay.worker import PartitionWorker


class NoMeasures:
    def show(self, workers: Mapping[int, PartitionWorker], paused: int, now: float) -> None: ...
    def forget(self, number: int) -> None: ...
