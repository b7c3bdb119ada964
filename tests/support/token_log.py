"""Topics of token records as a test makes and reads them."""

from collections.abc import Awaitable, Callable

from aiokafka import ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from devtools.kafka import LocalKafka
from topics.codec import TokenRecord, decode_record

Read = Callable[[str], Awaitable[list[ConsumerRecord]]]


async def small_topic(kafka: LocalKafka, topic: str, most: int = 4096) -> str:
    """One partition, and no batch above `most` bytes."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": str(most)})])
    finally:
        await admin.close()
    return topic


async def lower_limit(kafka: LocalKafka, topic: str, size: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": size})])
    finally:
        await admin.close()


def decoded(records: list[ConsumerRecord]) -> list[TokenRecord]:
    found = [decode_record(record.value) for record in records]
    assert all(isinstance(record, TokenRecord) for record in found), found
    return [record for record in found if isinstance(record, TokenRecord)]
