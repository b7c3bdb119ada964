from collections.abc import AsyncIterator

import pytest
from aiokafka import ConsumerRecord

from devtools.emulator.server import LocalRealtime
from devtools.kafka import LocalKafka
from devtools.topic_reader import read_topic
from support.secured import Certificates, make_certificates
from support.token_log import Read


@pytest.fixture
async def server() -> AsyncIterator[LocalRealtime]:
    async with LocalRealtime(admin=True) as started:
        yield started


@pytest.fixture
def read(kafka: LocalKafka) -> Read:
    """Everything the log of a topic holds, partition by partition."""

    async def read_all(topic: str) -> list[ConsumerRecord]:
        return [record async for record in read_topic(kafka.bootstrap, topic)]

    return read_all


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))
