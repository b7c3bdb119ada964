"""Fixtures that every area shares. The broker is real: Apache Kafka, started once, by the first test that asks."""

import asyncio
import gc
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, settings

from devtools.deployment import create_topics, delete_topics, names_after
from devtools.kafka import LocalKafka
from topics.specs import TopicNames

settings.register_profile("all", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("few", settings.get_profile("all"), max_examples=5, derandomize=True)
settings.load_profile("all")
"""How long an example takes depends on what else runs. `make unit` runs few examples, the same each time."""

pytest.register_assert_rewrite("support")

MakeTopics = Callable[..., Awaitable[TopicNames]]
MakeKafka = Callable[..., Awaitable[LocalKafka]]

LONGEST_FIRST = (
    "simulation",
    "observability",
    "faults",
    "browser",
    "integration",
    "js",
    "docs",
    "contract",
    "properties",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folders of long modules come first, so that what parallel runs end with is short."""
    order = {folder: place for place, folder in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.relative_to(Path(__file__).parent).parts[0], len(order)))


def pytest_configure() -> None:
    gc.disable()


def pytest_collection_finish() -> None:
    from support.garbage import keep_what_is_imported

    keep_what_is_imported()


@pytest.fixture(scope="session", autouse=True)
def programs_are_forked() -> Iterator[None]:
    """The product's programs start as forks of a process that has imported it: see `support.forks`."""
    from devtools.children import Child
    from support.forks import ForkServer

    server = ForkServer()
    Child.launch = server.launch
    yield
    server.close()


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> LocalKafka:
    """One broker for the whole run and all its processes: never kill, pause or stop it (see `bare_kafka`)."""
    from support.shared_kafka import shared_kafka

    folder = tmp_path_factory.getbasetemp()
    broker, close = shared_kafka(folder.parent if hasattr(pytestconfig, "workerinput") else folder)
    pytestconfig.add_cleanup(close)  # no test's timeout holds for it: it may wait for other processes
    return broker


@pytest.fixture(scope="module")
def topics_of_module(kafka: LocalKafka) -> Iterator[list[str]]:
    """Topics of the shared broker. They are deleted after the module, as much that clients ask for lists all topics."""
    names: list[str] = []
    yield names
    if names:
        asyncio.run(delete_topics(kafka.bootstrap, names))


@pytest.fixture
async def bare_kafka() -> AsyncIterator[MakeKafka]:
    """Brokers of a test's own, to kill, pause and restart: `broker = await bare_kafka(extra_properties={...})`.

    Takes what `LocalKafka` takes; started when it returns, closed after the test.
    """
    from support.shared_kafka import FEW_THREADS

    brokers: list[LocalKafka] = []

    async def make(*, extra_properties: Mapping[str, str] = MappingProxyType({}), **arguments: object) -> LocalKafka:
        properties = FEW_THREADS | dict(extra_properties)
        brokers.append(LocalKafka(extra_properties=properties, **arguments))  # type: ignore[arg-type]  # checked there
        await brokers[-1].start()
        return brokers[-1]

    yield make
    for broker in brokers:
        await broker.close()


@pytest.fixture
def topics_prefix() -> str:
    """A name no other test uses: for topics, consumer groups and transactional ids."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def make_topics(kafka: LocalKafka, topics_prefix: str, topics_of_module: list[str]) -> MakeTopics:
    """`names = await make_topics(partitions=1)` creates this test's four topics, named after `topics_prefix`.

    On another broker: `bootstrap=broker.bootstrap`. A second set in one test: `prefix="..."`.
    """

    async def make(*, partitions: int = 4, bootstrap: str = kafka.bootstrap, prefix: str = topics_prefix) -> TopicNames:
        names = names_after(prefix)
        if bootstrap == kafka.bootstrap:
            topics_of_module.extend(names.all())
        return await create_topics(bootstrap, names, partitions)

    return make


@pytest.fixture
async def topic_names(make_topics: MakeTopics) -> TopicNames:
    """This test's four topics, created, with 4 partitions each."""
    return await make_topics()
