"""Members, writers and fetches in a scenario of the Kafka ports."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from processor.core.response import Raw
from processor.errors import KafkaUnavailable
from processor.ports.log import PartitionWriter, TokensConsumer
from support.kafka_stages import SESSION, KafkaStage, Scenario
from support.waiting import until

Play = Callable[[Scenario], None]


class Owner:
    """As the relay: pauses what it is assigned, and takes part in nothing else."""

    def __init__(self, consumer: TokensConsumer) -> None:
        self.consumer = consumer
        self.assigned: list[Sequence[int]] = []
        self.revoked: list[Sequence[int]] = []
        self.beats_while_revoked = 0
        self.waits_for_a_beat_at: Callable[[], float] | None = None

    async def on_partitions_assigned(self, numbers: Sequence[int]) -> None:
        self.consumer.pause(*numbers)
        self.assigned.append(list(numbers))

    async def on_partitions_revoked(self, numbers: Sequence[int]) -> None:
        self.revoked.append(list(numbers))
        if numbers and self.waits_for_a_beat_at is not None:
            async with asyncio.timeout(SESSION):
                await self.consumer.membership.heartbeat_after(self.waits_for_a_beat_at())
            self.beats_while_revoked += 1

    @property
    def owns(self) -> Sequence[int]:
        return self.assigned[-1] if self.assigned else []


async def fetched(consumer: TokensConsumer, count: int, within: float = 30.0) -> dict[int, list[Raw]]:
    """Returns exactly this many records."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    found: dict[int, list[Raw]] = {}
    while sum(map(len, found.values())) < count:
        assert loop.time() < deadline, f"{found} within {within} s"
        for number, records in (await fetch(consumer)).items():
            found.setdefault(number, []).extend(records)
    assert sum(map(len, found.values())) == count
    return found


async def fetch(consumer: TokensConsumer) -> dict[int, Sequence[Raw]]:
    """What one fetch brings. One that fails is tried again from where the partitions were, as the relay does."""
    positions = {number: consumer.reached(number) for number in consumer.assigned}
    while True:
        try:
            return dict(await consumer.fetch(100, 0.2))
        except KafkaUnavailable:
            for number, position in positions.items():
                if position is not None:
                    consumer.seek(number, position)


@asynccontextmanager
async def member(stage: KafkaStage) -> AsyncIterator[tuple[TokensConsumer, Owner]]:
    """Joined, with all partitions."""
    consumer = stage.consumer()
    owner = Owner(consumer)
    await consumer.start(owner)
    try:
        await until(lambda: owner.owns)
        for number in owner.owns:
            consumer.seek(number, 0)
        yield consumer, owner
    finally:
        await consumer.stop()


async def started(stage: KafkaStage, number: int) -> PartitionWriter:
    writer = stage.writer_of(number)
    assert not writer.started
    await writer.start()
    assert writer.started
    return writer


async def becomes(look: Callable[[], Awaitable[object]], expected: object) -> None:
    """What a transaction wrote shows soon after its end, and not at once."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 20
    while (found := await look()) != expected:
        assert loop.time() < deadline, f"{found}, not {expected}"
        await asyncio.sleep(0.05)
