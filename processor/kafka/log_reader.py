"""One pass over a topic, from a time to its current end, outside any consumer group."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from processor.errors import KafkaUnavailable
from processor.kafka.connection import ConnectionSource
from processor.kafka.record_batches import DEFAULT_MAX_BATCH_BYTES, Trouble, Unreadable, read_safely, report_unreadable
from processor.kafka.stopping import stop_quietly
from processor.ports.store import Position, Progress

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class LogEntry:
    position: Position
    key: bytes | None
    value: bytes | None


async def read_log(
    source: ConnectionSource,
    topic: str,
    *,
    since: int | None,
    progress: Progress | None = None,
    max_batch_bytes: int = DEFAULT_MAX_BATCH_BYTES,
) -> AsyncIterator[LogEntry]:
    """Committed records of all partitions, each partition in order, from `since` (ms; None: from the start) to the
    end as it was when this began. `progress` is called with how many offsets were passed. Raises KafkaUnavailable.
    """
    async with _consumer(source, max_batch_bytes) as (consumer, troubles):
        begins, ends = await _bounds(consumer, topic, since)
        partitions = [partition for partition, end in ends.items() if begins[partition] < end]
        consumer.assign(partitions)
        for partition in partitions:
            consumer.seek(partition, begins[partition])
        total = sum(ends[one] - begins[one] for one in partitions)
        passed = dict(begins)
        while open_partitions := [one for one in partitions if passed[one] < ends[one]]:
            batches = await consumer.getmany(*open_partitions, timeout_ms=500)
            for trouble in troubles.values():
                raise KafkaUnavailable(f"{trouble}. Restore the broker's log of this partition.")
            for partition, records in batches.items():
                for record in records:
                    if record.offset < ends[partition]:
                        position = Position(record.partition, record.offset)
                        yield LogEntry(position, record.key, record.value)
            before = sum(passed.values())
            for one in open_partitions:
                # The position, not the last record: what transactions leave in the log is passed over.
                passed[one] = min(ends[one], await consumer.position(one))
            if progress:
                progress(sum(passed.values()) - before, total)


async def _bounds(
    consumer: AIOKafkaConsumer, topic: str, since: int | None
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    numbers = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - `partitions_for_topic` needs a subscription first
    known = numbers.partitions_for_topic(topic)
    if not known:
        raise KafkaUnavailable(f"the topic {topic} does not exist, or may not be described")
    partitions = [TopicPartition(topic, number) for number in sorted(known)]
    begins: dict[TopicPartition, int] = await consumer.beginning_offsets(partitions)
    ends: dict[TopicPartition, int] = await consumer.end_offsets(partitions)
    if since is not None:
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, since))
        begins = {one: ends[one] if found[one] is None else max(begins[one], found[one].offset) for one in partitions}
    return begins, ends


@asynccontextmanager
async def _consumer(
    source: ConnectionSource, max_batch_bytes: int
) -> AsyncIterator[tuple[AIOKafkaConsumer, Mapping[TopicPartition, Trouble]]]:
    consumer = AIOKafkaConsumer(
        **source().arguments(), enable_auto_commit=False, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await consumer.start()
            fetches = read_safely(consumer, limit=max_batch_bytes, refuse=_passed_over)
        yield consumer, fetches.troubles
    except (KafkaError, OSError, TimeoutError) as error:
        raise KafkaUnavailable(f"Kafka does not answer: {type(error).__name__}") from error
    finally:
        await stop_quietly(consumer)


def _passed_over(partition: TopicPartition, unreadable: Unreadable) -> None:
    report_unreadable(log.error, "log_records_unreadable", partition, unreadable)
