"""Partitions that can't be fetched because of a broker: what is logged and reported of them."""

from collections.abc import Iterable, Mapping
from typing import Final

import structlog
from aiokafka import TopicPartition

LASTING: Final = 5.0
"""Seconds after which a failure is reported: brokers that restart and leaders that move take less."""

log = structlog.get_logger(__name__)


class NotFetched:
    """Since when each partition fails, and why. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._failing: dict[TopicPartition, tuple[float, str]] = {}
        self._logged: dict[TopicPartition, str] = {}

    def failed(self, partitions: Iterable[TopicPartition], cause: str, now: float) -> None:
        """Logs each cause once, and only one that has lasted."""
        for partition in partitions:
            since, _ = self._failing.get(partition, (now, ""))
            self._failing[partition] = since, cause
            if now - since >= LASTING and self._logged.get(partition) != cause:
                self._logged[partition] = cause
                log.error("partition_not_fetched", topic=partition.topic, partition=partition.partition, cause=cause)

    def __bool__(self) -> bool:
        return bool(self._failing)

    def answered(self, partitions: Iterable[TopicPartition]) -> None:
        for partition in partitions:
            self._failing.pop(partition, None)
            if self._logged.pop(partition, None) is not None:
                log.info("partition_fetched_again", topic=partition.topic, partition=partition.partition)

    def lasting(self, now: float) -> Mapping[TopicPartition, str]:
        return {partition: cause for partition, (since, cause) in self._failing.items() if now - since >= LASTING}

    def clear(self) -> None:
        self._failing.clear()
        self._logged.clear()
