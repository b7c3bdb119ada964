"""Gives up a batch that no consumer can read: its partition's log begins after it afterwards.

This works while relays run. Their fetches are then out of range, and they take the partition over behind the batch.
"""

import asyncio
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from processor.errors import Fatal, KafkaUnavailable
from processor.kafka import CommittedOffsets
from processor.kafka.connection import KafkaConnection
from processor.kafka.record_batches import Trouble, read_safely
from processor.kafka.stopping import stop_quietly

READ_SECONDS = 15.0


class NothingToSkip(Fatal):
    """The partition can be read at this offset."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """`end`: the partition's first offset now. `first` is what it was before: the records between are gone."""

    cause: str
    first: int
    end: int


async def skip(
    connection: KafkaConnection,
    topic: str,
    partition: int,
    offset: int,
    *,
    group_id: str | None,
    within: float = READ_SECONDS,
) -> Skipped:
    """Delete the partition's records up to the end of the batch at `offset`, if that can't be read.

    Of a group, what it has not committed is kept: then nothing is deleted. `within`: seconds for the reading, and
    again for the deleting. Raises NothingToSkip, having deleted nothing; KafkaUnavailable.
    """
    place = TopicPartition(topic, partition)
    begin = offset if group_id is None else await _committed(connection, place, offset, group_id)
    try:
        async with asyncio.timeout(within):
            trouble, first = await _trouble(connection, place, offset, begin)
        end = offset + 1 if trouble.end is None else max(trouble.end, offset + 1)
        admin = AIOKafkaAdminClient(**connection.arguments())
        try:
            async with asyncio.timeout(within):
                await admin.start()
                await admin.delete_records({place: RecordsToDelete(end)})
        finally:
            await admin.close()
    except (KafkaError, TimeoutError, OSError, LookupError) as error:
        raise KafkaUnavailable(
            f"{topic}-{partition} could not be read or changed: {error!r}. Nothing was deleted."
        ) from error
    return Skipped(trouble.cause, first, end)


async def _committed(connection: KafkaConnection, place: TopicPartition, offset: int, group_id: str) -> int:
    """Returns up to where the group has committed, `offset` at most. Raises NothingToSkip if it has committed nothing."""
    reader = CommittedOffsets(lambda: connection, group_id, place.topic)
    try:
        committed = await reader.read(place.partition)
    finally:
        await reader.close()
    if committed is None:
        raise NothingToSkip(
            f"Group {group_id} has no committed offset for {place.topic}-{place.partition}: {_lost(offset)}"
        )
    return min(committed[0], offset)


def _lost(offset: int) -> str:
    return (
        f"records before offset {offset} would be lost. Start the process that reads them and wait until it has committed"
        " them, or add --force."
    )


async def _trouble(connection: KafkaConnection, place: TopicPartition, offset: int, begin: int) -> tuple[Trouble, int]:
    """What keeps consumers from reading at the offset, and the log's first one. Reads from `begin` until it knows.

    Markers of transactions may be between `begin` and the offset. Raises NothingToSkip if records are.
    """
    troubles: list[Trouble] = []
    consumer = AIOKafkaConsumer(
        **connection.arguments(), group_id=None, enable_auto_commit=False, auto_offset_reset="none"
    )
    try:
        await consumer.start()
        read_safely(consumer, noted=troubles.append)
        first = (await consumer.beginning_offsets([place]))[place]
        if offset >= (await consumer.end_offsets([place]))[place]:
            raise _nothing_at(place, offset)
        consumer.assign([place])
        consumer.seek(place, min(offset, max(first, begin)))
        while not troubles and await consumer.position(place) <= offset:
            fetched = await consumer.getmany(timeout_ms=200, max_records=1)
            if any(record.offset < offset for record in fetched.get(place, ())):
                raise NothingToSkip(
                    f"{place.topic}-{place.partition} is committed up to offset {begin}: {_lost(offset)}"
                )
    except OffsetOutOfRangeError:
        raise _nothing_at(place, offset) from None
    finally:
        await stop_quietly(consumer)
    if not troubles or troubles[0].offset != offset:
        at = f" It can't be read at offset {troubles[0].offset}." if troubles else ""
        raise NothingToSkip(f"{place.topic}-{place.partition} can be read at offset {offset}: nothing was deleted.{at}")
    if troubles[0].of_broker:
        raise KafkaUnavailable(
            f"{troubles[0]}, which may pass. Try again; if it stays, check the broker's log and its disks. Nothing was deleted."
        )
    return troubles[0], first


def _nothing_at(place: TopicPartition, offset: int) -> NothingToSkip:
    return NothingToSkip(
        f"{place.topic}-{place.partition} holds nothing at offset {offset}. Give the offset that /readyz names."
    )
