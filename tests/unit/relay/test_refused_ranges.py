"""What is refused in the place of several records is passed over as a whole, and so refused once."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from processor.core.items import Raw, Refused, end_of
from processor.core.limits import Limits
from processor.errors import KafkaUnavailable
from processor.ports.log import RebalanceListener
from processor.relay.relay import Relay, RelayOptions
from support.around import Around
from support.partition_owners import Partition
from support.virtual_time import in_virtual_time
from support.waiting import until
from support.world import LogRecord
from topics.records import Reason

RANGE = Refused(LogRecord(5, b""), Reason.TOO_LARGE, "the batch of offsets 5 to 8", 8)


class FailingConsumer(Around):
    """Its second fetch of a partition that is read fails."""

    patience = 10.0
    assigned = frozenset({0})

    def __init__(self, partition: Partition) -> None:
        super().__init__(partition)
        self.sought: list[int] = []
        self.reads = False
        self.fetches = 0

    async def start(self, listener: RebalanceListener) -> None:
        await listener.on_partitions_assigned([0])

    def pause(self, *_numbers: int) -> None: ...

    def resume(self, *_numbers: int) -> None:
        self.reads = True

    def reached(self, _number: int) -> None:
        return None

    def seek(self, _number: int, offset: int) -> None:
        self.sought.append(offset)

    async def fetch(self, _max_records: int, _wait: float) -> Mapping[int, Sequence[Raw]]:
        if not self.reads:
            return {}
        self.fetches += 1
        if self.fetches > 1:
            raise KafkaUnavailable("another partition's answer is cut off")
        return {0: [LogRecord(4, b""), RANGE]}


def test_the_offset_after_a_range_is_after_its_last() -> None:
    assert end_of([LogRecord(4, b"")]) == 5
    assert end_of([Refused(LogRecord(4, b""), Reason.POISON, "")]) == 5
    assert end_of([LogRecord(4, b""), RANGE]) == 9


@in_virtual_time
async def test_after_a_failed_fetch_reading_goes_on_behind_a_range() -> None:
    partition = Partition()
    consumer: Any = FailingConsumer(partition)
    options = RelayOptions(
        credentials=lambda: None,
        check_credentials=lambda: None,
        limits=Limits(),
        drain_timeout=1.0,
    )
    async with asyncio.TaskGroup() as tasks:
        relay = Relay(options, replace(partition.parts(), consumer=consumer), tasks)
        running = tasks.create_task(relay.run())
        await until(lambda: consumer.fetches > 1, within=10)
        await relay.stop()
        await running
    taken_over, read_again, *_ = consumer.sought
    assert (taken_over, read_again) == (0, 9)
