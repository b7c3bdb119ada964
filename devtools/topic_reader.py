"""Reads a whole topic, as far as it goes now."""

from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer, ConsumerRecord


async def read_topic(bootstrap: str, topic: str) -> AsyncIterator[ConsumerRecord]:
    """Yields every committed record, in the order of each partition."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await consumer.start()
    try:
        for partition, end in (await consumer.end_offsets(consumer.assignment())).items():
            while await consumer.position(partition) < end:
                for records in (await consumer.getmany(partition, timeout_ms=300)).values():
                    for record in records:
                        yield record
    finally:
        await consumer.stop()
