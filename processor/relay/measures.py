"""What the relay shows of its partitions: sums taken a few times a second, so that no record pays for them."""

from collections.abc import Mapping

from processor.core.counts import Counts
from processor.ports.log import TokensConsumer
from processor.relay.worker import PartitionWorker
from processor.telemetry.metrics import Metrics

OLDEST_INTERVAL = 1.0


class Measures:
    def __init__(self, metrics: Metrics, consumer: TokensConsumer) -> None:
        self._metrics = metrics
        self._consumer = consumer
        self._shown: set[int] = set()
        self._oldest_at = 0.0

    def show(self, workers: Mapping[int, PartitionWorker], paused: int, now: float) -> None:
        """`now` is monotonic seconds."""
        pipelines = [worker.pipeline for worker in workers.values()]
        metrics = self._metrics
        metrics.open_responses.set(sum(pipeline.open_responses for pipeline in pipelines))
        metrics.buffered_bytes.set(sum(pipeline.buffered_bytes for pipeline in pipelines))
        metrics.transcript_bytes.set(sum(pipeline.transcript_bytes for pipeline in pipelines))
        metrics.publishes_in_flight.set(sum(pipeline.in_flight for pipeline in pipelines))
        metrics.owned_partitions.set(len(pipelines))
        metrics.paused_partitions.set(paused)
        for pipeline in pipelines:
            self._count(pipeline.take_counts())
        oldest_due = now - self._oldest_at >= OLDEST_INTERVAL
        for number, worker in workers.items():
            if worker.running:
                self._show_partition(number, worker)
                if oldest_due:
                    self._show_oldest(number, worker, now)
        if oldest_due:
            self._oldest_at = now

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

    def _show_partition(self, number: int, worker: PartitionWorker) -> None:
        metrics, labels = self._metrics, (self._consumer.topic, str(number))
        position = worker.pipeline.position
        self._shown.add(number)
        metrics.consumed_offset.labels(*labels).set(position)
        metrics.committed_offset.labels(*labels).set(worker.committed_offset)
        metrics.partition_open_responses.labels(*labels).set(worker.pipeline.open_responses)
        if (end := self._consumer.high_water(number)) is not None:
            metrics.consumer_lag_records.labels(*labels).set(max(0, end - position))

    def _show_oldest(self, number: int, worker: PartitionWorker, now: float) -> None:
        since = worker.pipeline.oldest_unsent_at()
        gauge = self._metrics.oldest_unsent_seconds.labels(self._consumer.topic, str(number))
        gauge.set(0.0 if since is None else now - since)
