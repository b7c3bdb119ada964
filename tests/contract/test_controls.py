"""Tests every implementation of `processor.ports.controls`: the adapters with a broker, and the fakes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from processor.errors import KafkaUnavailable
from processor.kafka.connection import KafkaConnection
from processor.ports.controls import ControlsSource
from support.connection_switch import ConnectionSwitch, no_broker, without_rights
from support.controls_stages import (
    ControlsScenario,
    ControlsStage,
    SinkScenario,
    SinkStage,
    on_kafka,
    on_recorder,
    on_simulation,
)
from support.waiting import until
from topics.controls import ControlEvent, ControlRecord, encode_control

CANCEL = ControlRecord(ControlEvent.CANCEL, "r-1", "chat:1", 1_763_860_000_000)
UNWANTED = ControlRecord(ControlEvent.UNWANTED, "r-2", reason="abandoned", ts=1)
LOOKBACK = 600.0
SLACK = 60.0
"""Seconds that a busy machine may take between a step of a test and the next."""
WITHOUT_RIGHTS = "kafka with access rules"

Taken = tuple[ControlRecord, float]

Play = Callable[[ControlsScenario], None]
PlayOnSink = Callable[[SinkScenario], None]


@pytest.fixture
def on_broker(kafka: LocalKafka, authorized_kafka: LocalKafka, make_topics: MakeTopics) -> Callable[[str], Play]:
    """What fails after `cut` is a connection, or with access rules a request, for want of a right."""

    async def make(broker: LocalKafka) -> str:
        return (await make_topics(partitions=1, bootstrap=broker.bootstrap)).controls

    def choose(kind: str) -> Play:
        broker = authorized_kafka if kind == WITHOUT_RIGHTS else kafka
        fails = no_broker if broker is kafka else lambda: without_rights(broker)
        connection = ConnectionSwitch(KafkaConnection(broker.bootstrap), fails)
        topic = asyncio.run(make(broker))
        return lambda scenario: on_kafka(scenario, broker, topic, connection)

    return choose


@pytest.fixture(params=["simulation", "kafka"])
def on_stage(request: pytest.FixtureRequest, on_broker: Callable[[str], Play]) -> Play:
    return on_simulation if request.param == "simulation" else on_broker(request.param)


@pytest.fixture(params=["simulation", "recorder", "kafka"])
def on_sink(request: pytest.FixtureRequest, on_broker: Callable[[str], Play]) -> PlayOnSink:
    fakes: dict[str, PlayOnSink] = {"recorder": on_recorder, "simulation": on_simulation}
    return fakes.get(request.param) or on_broker(request.param)


@asynccontextmanager
async def reading(stage: ControlsStage) -> AsyncIterator[tuple[ControlsSource, list[Taken]]]:
    taken: list[Taken] = []
    source = stage.source(lambda record, age: taken.append((record, age)), LOOKBACK)
    assert source.trouble is not None, "nothing is read yet"
    task = asyncio.get_running_loop().create_task(source.run())
    try:
        yield source, taken
    finally:
        task.cancel()
        await asyncio.wait({task})


def ages(taken: list[Taken], record: ControlRecord) -> list[float]:
    return [age for each, age in taken if each == record]


# Writing


def test_a_written_record_is_on_the_topic(on_sink: PlayOnSink) -> None:
    async def scenario(stage: SinkStage) -> None:
        await stage.sink.write(CANCEL)
        assert await stage.written() == [CANCEL]
        await stage.sink.connect()
        await stage.sink.write(UNWANTED)
        await stage.sink.write(CANCEL)
        assert await stage.written() == [CANCEL, UNWANTED, CANCEL]

    on_sink(scenario)


def test_a_closed_sink_is_written_to_again(on_sink: PlayOnSink) -> None:
    async def scenario(stage: SinkStage) -> None:
        await stage.sink.close()
        await stage.sink.write(CANCEL)
        await stage.sink.close()
        await stage.sink.close()
        await stage.sink.write(UNWANTED)
        assert await stage.written() == [CANCEL, UNWANTED]

    on_sink(scenario)


@pytest.mark.parametrize("on_sink", ["simulation", "recorder", "kafka", WITHOUT_RIGHTS], indirect=True)
def test_without_a_broker_or_the_right_nothing_is_written(on_sink: PlayOnSink) -> None:
    async def scenario(stage: SinkStage) -> None:
        stage.cut()
        for attempt in (stage.sink.connect(), stage.sink.write(CANCEL), stage.sink.write(CANCEL)):
            with pytest.raises(KafkaUnavailable):
                await attempt
        assert await stage.written() == []
        stage.heal()
        await stage.sink.write(UNWANTED)
        assert await stage.written() == [UNWANTED]

    on_sink(scenario)


# Reading


def test_what_is_written_is_read_and_has_just_come(on_stage: Play) -> None:
    async def scenario(stage: ControlsStage) -> None:
        async with reading(stage) as (source, taken):
            await until(lambda: source.trouble is None)
            await stage.sink.write(CANCEL)
            await stage.sink.write(UNWANTED)
            await until(lambda: ages(taken, CANCEL) and ages(taken, UNWANTED))
            assert taken == [(CANCEL, 0.0), (UNWANTED, 0.0)]
            assert source.trouble is None

    on_stage(scenario)


def test_what_was_written_before_is_read_with_its_age(on_stage: Play) -> None:
    async def scenario(stage: ControlsStage) -> None:
        await stage.put(encode_control(CANCEL), ago=LOOKBACK + SLACK)
        await stage.put(encode_control(UNWANTED), ago=LOOKBACK - 2 * SLACK)
        async with reading(stage) as (_, taken):
            await until(lambda: taken)
            assert [record for record, _ in taken] == [UNWANTED], "the other is older than the lookback"
            assert LOOKBACK - 2 * SLACK <= taken[0][1] < LOOKBACK - SLACK

    on_stage(scenario)


def test_a_record_without_a_time_has_that_of_its_writing(on_stage: Play) -> None:
    """And one that cannot be decoded is left out."""

    async def scenario(stage: ControlsStage) -> None:
        before = stage.now_ms()
        await stage.put(b"no control record")
        await stage.sink.write(ControlRecord(ControlEvent.CANCEL, "r-1", "chat:1"))
        async with reading(stage) as (_, taken):
            await until(lambda: taken)
            (record, _), *more = taken
            assert not more
            assert record.ts is not None
            assert before <= record.ts <= stage.now_ms()

    on_stage(scenario)


@pytest.mark.parametrize("on_stage", ["simulation", "kafka", WITHOUT_RIGHTS], indirect=True)
def test_a_source_that_cannot_read_says_so_and_goes_on_trying(on_stage: Play) -> None:
    async def scenario(stage: ControlsStage) -> None:
        await stage.sink.write(CANCEL)
        stage.cut()
        async with reading(stage) as (source, taken):
            first = source.trouble
            await until(lambda: source.trouble != first)
            assert source.trouble is not None
            assert taken == []
            stage.heal()
            await until(lambda: source.trouble is None and ages(taken, CANCEL))

    on_stage(scenario)
