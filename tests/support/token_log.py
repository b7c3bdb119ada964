"""Topics of token records as a test makes and reads them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from devtools.kafka import LocalKafka
from topics.codec import TokenRecord, decode_record

Read = Callable[[str], Awaitable[list[ConsumerRecord]]]


@asynccontextmanager
async def admin_of(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def limit_topic(bootstrap: str, topic: str, size: int) -> None:
    """The topic takes no batch above `size` bytes from now on."""
    async with admin_of(bootstrap) as admin:
        limits = {"max.message.bytes": str(size)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, limits)])


async def trim_topic(bootstrap: str, topic: str, partition: int, before: int) -> None:
    """Deletes the records before an offset."""
    async with admin_of(bootstrap) as admin:
        await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before)})


def flip_a_bit(data: Path, topic: str, partition: int, text: bytes) -> None:
    """Damages the record that has the text, as a disk does. `data` is the broker's folder."""
    (segment,) = data.rglob(f"{topic}-{partition}/*.log")
    at = segment.read_bytes().index(text)
    with segment.open("r+b") as file:
        file.seek(at)
        file.write(bytes([text[0] ^ 1]))


async def small_topic(kafka: LocalKafka, topic: str, most: int = 4096) -> str:
    """One partition, and no batch above `most` bytes."""
    async with admin_of(kafka.bootstrap) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": str(most)})])
    return topic


def decoded(records: list[ConsumerRecord]) -> list[TokenRecord]:
    found = [decode_record(record.value) for record in records]
    assert all(isinstance(record, TokenRecord) for record in found), found
    return [record for record in found if isinstance(record, TokenRecord)]
