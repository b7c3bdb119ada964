"""Each kind of store and of Kafka, for the contracts that all of them keep."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from devtools.stores import opened
from processor.ports.store import ResponseStore
from support.kafka_scenarios import Play
from support.kafka_stages import PARTITIONS, on_kafka, on_simulation
from support.secured import AUTHORIZED
from support.shared_kafka import FEW_THREADS
from support.stores import KINDS, new_store_url
from topics.specs import TopicNames


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def url(kind: str, tmp_path: Path) -> str:
    return await new_store_url(kind, tmp_path)


@pytest.fixture
async def store(url: str) -> AsyncIterator[ResponseStore]:
    async with opened(url) as store:
        yield store


@pytest.fixture(params=["simulation", "kafka"])
def on_stage(request: pytest.FixtureRequest) -> Play:
    if request.param == "simulation":
        return on_simulation
    kafka: LocalKafka = request.getfixturevalue("kafka")
    make_topics: MakeTopics = request.getfixturevalue("make_topics")
    names = asyncio.run(_made(make_topics))
    return lambda scenario: on_kafka(scenario, kafka, names)


async def _made(make_topics: MakeTopics) -> TopicNames:
    return await make_topics(partitions=PARTITIONS)


@pytest.fixture(scope="session")
def authorized_kafka() -> Iterator[LocalKafka]:
    """A broker of this process with access rules, which a test may pause for a while."""
    broker = LocalKafka(extra_listeners={"CLIENT": "SASL_PLAINTEXT"}, extra_properties=FEW_THREADS | AUTHORIZED)
    broker.start_blocking()
    yield broker
    asyncio.run(broker.close())
