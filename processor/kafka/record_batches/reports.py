"""Logs unreadable batches and records, the same in every reader. `write` is the method of the reader's logger."""

from collections.abc import Callable

from aiokafka import TopicPartition

from processor.kafka.record_batches.batches import Trouble, Unreadable

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
