"""Logs unreadable batches and records, the same in every reader. `write` is the method of the reader's logger."""

from collections.abc import Callable

from aiokafka import TopicPartition

from processor.kafka.record_batches.batches import Trouble, Unreadable
from processor.kafka.record_batches.fetches import HOLD

Write = Callable[..., object]
"""(event, **fields)"""


def report_unreadable(write: Write, event: str, partition: TopicPartition, unreadable: Unreadable) -> None:
    write(
        event,
        topic=partition.topic,
        partition=partition.partition,
        offset=unreadable.offset,
        last=unreadable.last,
        cause=unreadable.detail,
    )


def report_trouble(write: Write, trouble: Trouble, advice: str) -> None:
    write(
        "batch_unreadable",
        topic=trouble.topic,
        partition=trouble.partition,
        offset=trouble.offset,
        cause=trouble.cause,
        advice=advice,
    )


def advice_on(trouble: Trouble, *, skip_options: str = "") -> str:
    """Returns the state of a partition that can't be read on beside others, and what to do."""
    tried = f"{trouble}. It is tried again every {HOLD:g} s; other partitions go on."
    if trouble.of_broker:
        return f"{tried} If that does not pass, check the broker's log and its disks"
    skip = f"tokenstream skip {trouble.partition} {trouble.offset}{skip_options}"
    return f"{tried} Restore the broker's log, or give up the batch: `{skip}`"
