"""How far a program is behind: what it has consumed and not committed counts as not done."""

import contextlib
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

PARTITIONS = 4


class LagProbe:
    """Records of the tokens topic that a consumer group has not yet committed."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._topic = topic
        self._admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        self._consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._admin.start()
        self._stack.push_async_callback(self._admin.close)
        await self._consumer.start()
        self._stack.push_async_callback(self._consumer.stop)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def lag(self, group: str) -> int:
        partitions = [TopicPartition(self._topic, number) for number in range(PARTITIONS)]
        ends = await self._consumer.end_offsets(partitions)
        committed = await self._admin.list_consumer_group_offsets(group)
        return sum(
            end - max(0, committed[partition].offset if partition in committed else 0)
            for partition, end in ends.items()
        )
