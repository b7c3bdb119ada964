"""Tests every implementation of `processor.ports.store.Tombstones`: the adapter with a broker, and the tests' fake."""

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from processor.errors import KafkaUnavailable, TombstoneUndetermined
from processor.kafka.connection import KafkaConnection
from support.connection_switch import ConnectionSwitch, no_broker, without_rights
from support.tombstone_stages import RecordedTombstones, TombstonesOnKafka, TombstoneStage
from support.waiting import eventually

KINDS = ("fake", "kafka", "kafka with access rules")


@pytest.fixture
async def stage(
    request: pytest.FixtureRequest, kafka: LocalKafka, authorized_kafka: LocalKafka, make_topics: MakeTopics
) -> AsyncIterator[TombstoneStage]:
    """What fails after `cut` is a connection, or a request, for want of a right."""
    made: TombstoneStage = RecordedTombstones()
    if request.param != "fake":
        broker = kafka if request.param == "kafka" else authorized_kafka
        topic = (await make_topics(partitions=2, bootstrap=broker.bootstrap)).responses
        fails = no_broker if broker is kafka else lambda: without_rights(broker)
        made = TombstonesOnKafka(broker, topic, ConnectionSwitch(KafkaConnection(broker.bootstrap), fails))
    yield made
    await made.close()


@pytest.mark.parametrize("stage", KINDS[:2], indirect=True)
async def test_a_tombstone_is_on_its_partition_when_it_returns(stage: TombstoneStage) -> None:
    await stage.tombstones.write("r-1", 1)
    await stage.tombstones.connect()
    await stage.tombstones.connect()
    await stage.tombstones.write("r-0", 0)
    assert await stage.written() == [("r-0", 0), ("r-1", 1)]


@pytest.mark.parametrize("stage", KINDS[:2], indirect=True)
async def test_a_partition_that_is_gone_is_no_obstacle(stage: TombstoneStage) -> None:
    """As where the topic was created again, with fewer partitions than the store remembers."""
    await stage.tombstones.write("r-7", 7)
    assert [response_id for response_id, _ in await stage.written()] == ["r-7"]


@pytest.mark.parametrize("stage", KINDS, indirect=True)
async def test_without_a_broker_or_the_right_nothing_is_written(stage: TombstoneStage) -> None:
    stage.cut()
    for attempt in (stage.tombstones.connect(), stage.tombstones.write("r-1", 0)):
        with pytest.raises(KafkaUnavailable) as raised:
            await attempt
        assert not isinstance(raised.value, TombstoneUndetermined)
    assert await stage.written() == []
    stage.heal()
    await stage.tombstones.write("r-2", 0)
    assert await stage.written() == [("r-2", 0)]


@pytest.mark.parametrize("stage", ["fake", "kafka with access rules"], indirect=True)
async def test_one_that_is_not_acknowledged_is_undetermined(stage: TombstoneStage) -> None:
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    await stage.tombstones.connect()
    await stage.tombstones.write("r-1", 0)
    with stage.silence():
        with pytest.raises(TombstoneUndetermined, match="it may be written"):
            await stage.tombstones.write("r-2", 0)
        await eventually(lambda: asyncio.all_tasks() == {asyncio.current_task()}, deadline=2)
    gc.collect()
    assert unhandled == []
    await stage.tombstones.write("r-2", 0)
    assert {response_id for response_id, _ in await stage.written()} == {"r-1", "r-2"}
