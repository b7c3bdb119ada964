"""How long a broker is asked to wait for a first record, and what ends that wait."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.subscription_state import SubscriptionState

from processor.kafka.fetching import MAX_WAIT_MS, REST_WAIT_MS, Fetching
from processor.kafka.record_batches import Fetches

EMPTY: Any = SimpleNamespace(topics=[], error=0)
BROKEN_RECORDS: Any = SimpleNamespace(topics=[("t", [(0, 0, 1, b"none that can be read")])], error=0)
FIRST, SECOND = TopicPartition("t", 0), TopicPartition("t", 1)


class Client:
    """The library's, of a cluster with one broker. Once `answers` are used up, it does not answer."""

    def __init__(self, *answers: Any) -> None:
        self.cluster = SimpleNamespace(leader_for_partition=lambda _: 0)
        self.waits: list[int] = []
        self._answers = list(answers)

    async def send(self, _node: int, request: Any) -> Any:
        self.waits.append(request._max_wait_ms)
        if not self._answers:
            await asyncio.Event().wait()
        return self._answers.pop(0)


def fetching(client: Client, subscriptions: Any) -> Fetching:
    consumer: Any = SimpleNamespace(
        _client=client,
        _coordinator=SimpleNamespace(check_errors=lambda: None),
        _subscription=subscriptions,
        _fetcher=SimpleNamespace(_isolation_level=1, _fetch_task=SimpleNamespace(cancel=lambda: None)),
    )
    fetches = Fetches(limit=1024, make=None, refuse=lambda *_: None, noted=lambda _: None)
    return Fetching(consumer, fetches, chance=lambda: 0.5, retried=lambda: None)


def reading(*partitions: TopicPartition) -> Any:
    subscriptions = SubscriptionState()
    subscriptions.assign_from_user(partitions)
    for partition in partitions:
        subscriptions.seek(partition, 0)
    return subscriptions


async def waits_asked_for(*answers: Any, before: Callable[[Any], None] = lambda _: None) -> list[int]:
    subscriptions, client = reading(FIRST, SECOND), Client(*answers)
    before(subscriptions)
    fetched = fetching(client, subscriptions)
    for _ in answers:
        await fetched.fetch(10, 1.0)
    await fetched.close()
    return client.waits


async def test_a_broker_with_nothing_new_waits_longer_the_next_time() -> None:
    assert await waits_asked_for(EMPTY, EMPTY, EMPTY) == [MAX_WAIT_MS, REST_WAIT_MS, REST_WAIT_MS]


async def test_after_records_a_broker_waits_shortly_again() -> None:
    waits = await waits_asked_for(EMPTY, BROKEN_RECORDS, EMPTY, EMPTY)
    assert waits == [MAX_WAIT_MS, REST_WAIT_MS, MAX_WAIT_MS, REST_WAIT_MS]


async def test_beside_a_paused_partition_a_broker_waits_shortly() -> None:
    """The partition may go on at any moment, and is asked for only after the answer."""
    waits = await waits_asked_for(EMPTY, EMPTY, before=lambda subscriptions: subscriptions.pause(FIRST))
    assert set(waits) == {MAX_WAIT_MS}


async def test_the_end_of_the_assignment_ends_the_wait() -> None:
    subscriptions = reading(FIRST)
    fetched = fetching(Client(), subscriptions)
    waiting = asyncio.create_task(fetched.fetch(10, 3_600.0))
    await asyncio.sleep(0)
    subscriptions.unsubscribe()
    async with asyncio.timeout(10):
        assert await waiting == {}
    await fetched.close()
