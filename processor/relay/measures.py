"""The relay's metrics of its partitions: sums computed a few times a second, so that no record pays for them."""

from collections.abc import Mapping

from processor.core.counts import Counts
from processor.core.partition import PipelineStatus
from processor.ports.log import TokensConsumer
from processor.relay.worker import PartitionWorker
from processor.telemetry.metrics import Metrics

PARTITIONS_INTERVAL = 1.0
"""Seconds between two looks at each partition by itself."""


class Measures:
    def __init__(self, metrics: Metrics, consumer: TokensConsumer) -> None:
        self._metrics = metrics
        self._consumer = consumer
        self._shown: set[int] = set()
        self._partitions_at = 0.0

    def show(self, workers: Mapping[int, PartitionWorker], paused: int, now: float) -> None:
        """`now` is monotonic seconds."""
        statuses = {number: worker.pipeline.status() for number, worker in workers.items()}
        metrics = self._metrics
        metrics.open_responses.set(sum(each.open_responses for each in statuses.values()))
        metrics.buffered_bytes.set(sum(each.buffered_bytes for each in statuses.values()))
        metrics.transcript_bytes.set(sum(each.transcript_bytes for each in statuses.values()))
        metrics.publishes_in_flight.set(sum(each.in_flight for each in statuses.values()))
        metrics.owned_partitions.set(len(statuses))
        metrics.paused_partitions.set(paused)
        for worker in workers.values():
            self._count(worker.pipeline.take_counts())
        if now - self._partitions_at < PARTITIONS_INTERVAL:
            return
        self._partitions_at = now
        for number, worker in workers.items():
            if worker.running:
                self._show_partition(number, worker, statuses[number])
                self._show_oldest(number, worker, now)

    def forget(self, number: int) -> None:
        """The partition is given up."""
        if number in self._shown:
            self._shown.discard(number)
            self._metrics.forget_partition(self._consumer.topic, number)

    def _count(self, counts: Counts) -> None:
        metrics = self._metrics
        metrics.records_consumed.inc(counts.consumed)
        metrics.tokens.inc(counts.tokens)
        metrics.duplicates.inc(counts.duplicates)
        metrics.gaps.inc(counts.gaps)
        metrics.responses_started.inc(counts.started)
        metrics.parts_dropped.inc(counts.parts_dropped)
        for status, count in counts.finished.items():
            metrics.responses_finished.labels(status).inc(count)
        for outcome, count in counts.cancels.items():
            metrics.cancels.labels(outcome).inc(count)
        for seconds in counts.cancel_seconds:
            metrics.cancel_seconds.observe(seconds)
        for seconds in counts.response_seconds:
            metrics.response_seconds.observe(seconds)

    def _show_partition(self, number: int, worker: PartitionWorker, status: PipelineStatus) -> None:
        metrics, labels = self._metrics, (self._consumer.topic, str(number))
        self._shown.add(number)
        metrics.consumed_offset.labels(*labels).set(status.position)
        metrics.committed_offset.labels(*labels).set(worker.committed_offset)
        metrics.partition_open_responses.labels(*labels).set(status.open_responses)
        if (end := self._consumer.high_water(number)) is not None:
            metrics.consumer_lag_records.labels(*labels).set(max(0, end - status.position))

    def _show_oldest(self, number: int, worker: PartitionWorker, now: float) -> None:
        since = worker.pipeline.oldest_unsent_at()
        gauge = self._metrics.oldest_unsent_seconds.labels(self._consumer.topic, str(number))
        gauge.set(0.0 if since is None else now - since)
