"""What the relay relies on in aiokafka, some of it internal: these fail when it changes."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from processor.clock import Clock
from processor.core.items import Raw
from processor.kafka import Consumer
from processor.kafka.connection import KafkaConnection
from support.waiting import eventually
from topics.specs import TopicNames

SESSION = 30.0
"""So long that a machine with much to do loses no membership. Heartbeats are sent four times a second all the same."""


class Assignments:
    def __init__(self, hold: float = 0.0) -> None:
        self.hold = hold
        self.assigned = 0
        self.revoked = 0
        self.beats_while_revoked = 0
        self.consumer: Consumer | None = None
        self.fetched: list[Raw] = []

    async def on_partitions_assigned(self, assigned: Sequence[int]) -> None:
        self.assigned += bool(assigned)

    async def on_partitions_revoked(self, revoked: Sequence[int]) -> None:
        self.revoked += bool(revoked)
        if revoked and self.hold and self.consumer is not None:
            async with asyncio.timeout(self.hold):
                await self.consumer.membership.heartbeat_after(time.monotonic())
                self.beats_while_revoked += 1


@pytest.fixture
async def joined(kafka: LocalKafka, make_topics: MakeTopics) -> AsyncIterator[tuple[Consumer, Assignments, TopicNames]]:
    names = await make_topics(partitions=1)
    listener = Assignments(hold=SESSION)
    consumer = listener.consumer = Consumer(
        lambda: KafkaConnection(kafka.bootstrap),
        topic=names.tokens,
        group_id=names.tokens,
        instance_id=None,
        session_timeout=SESSION,
        rebalance_timeout=2 * SESSION,
        isolation_level="read_committed",
        clock=Clock(),
    )
    await consumer.start(listener)
    polling = asyncio.create_task(poll(consumer, listener))
    await eventually(lambda: listener.assigned, deadline=60)
    consumer.seek(0, 0)  # as a takeover does: nothing is read before it
    yield consumer, listener, names
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    await consumer.stop()


async def poll(consumer: Consumer, listener: Assignments) -> None:
    while True:
        for records in (await consumer.fetch(1, 0.1)).values():
            listener.fetched += records


async def test_answered_heartbeats_are_seen_and_renew_the_lease(
    joined: tuple[Consumer, Assignments, TopicNames],
) -> None:
    consumer, _, _ = joined
    for _ in range(3):
        asked = time.monotonic()
        async with asyncio.timeout(SESSION):
            await consumer.membership.heartbeat_after(asked)
        assert consumer.membership.holds()


async def test_a_rejoin_that_is_asked_for_revokes_and_assigns_again(
    joined: tuple[Consumer, Assignments, TopicNames],
) -> None:
    consumer, listener, _ = joined
    consumer.membership.rejoin()
    await eventually(lambda: listener.revoked == 1 and listener.assigned == 2, deadline=60)


async def test_heartbeats_go_on_while_partitions_are_being_given_back(
    joined: tuple[Consumer, Assignments, TopicNames],
) -> None:
    consumer, listener, _ = joined
    consumer.membership.rejoin()
    await eventually(lambda: listener.assigned == 2, deadline=60)
    assert listener.beats_while_revoked == 1


async def test_fetched_records_come_as_they_were_read_and_with_all_that_is_kept_of_them(
    joined: tuple[Consumer, Assignments, TopicNames], kafka: LocalKafka
) -> None:
    from aiokafka import AIOKafkaProducer, ConsumerRecord

    _, listener, names = joined
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, linger_ms=50) as producer:
        sent = [
            await producer.send(names.tokens, b"v%d" % number, key=b"k", timestamp_ms=7, headers=[("h", b"x")])
            for number in range(20)
        ]
        await asyncio.gather(*sent)
    await eventually(lambda: len(listener.fetched) == len(sent), deadline=60)
    kept = [(each.offset, each.timestamp, each.key, each.value, list(each.headers)) for each in listener.fetched]
    assert kept == [(number, 7, b"k", b"v%d" % number, [("h", b"x")]) for number in range(20)]
    # They are fetched one by one: but for the first, each is surely of what had come before it was asked for.
    assert not any(isinstance(record, ConsumerRecord) for record in listener.fetched[1:])


async def test_the_end_offset_is_the_logs_even_behind_an_open_transaction(
    joined: tuple[Consumer, Assignments, TopicNames], kafka: LocalKafka
) -> None:
    from aiokafka import AIOKafkaProducer

    consumer, _, names = joined
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=f"{names.tokens}-open")
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(names.tokens, b"{}", key=b"k")
    assert await consumer.end_offset(0) == 1
    await producer.commit_transaction()
    await producer.stop()
    # The marker has an offset of its own, and no record: the position must pass it.
    await eventually(lambda: at_end(consumer), deadline=60)


async def at_end(consumer: Consumer) -> bool:
    return consumer.reached(0) == await consumer.end_offset(0) == 2


async def test_a_dead_coordination_shows(joined: tuple[Consumer, Assignments, TopicNames]) -> None:
    consumer, _, _ = joined
    assert not consumer.membership.ended
    task = consumer._consumer._coordinator._coordination_task
    task.cancel()
    await asyncio.wait([task])
    assert consumer.membership.ended
