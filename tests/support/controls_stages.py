"""Writers and readers of controls for the contract of `processor.ports.controls`, with what a test does beside the ports.

A stage has one topic of controls, of one partition.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Protocol

from aiokafka import AIOKafkaProducer

from devtools.kafka import LocalKafka
from devtools.topic_reader import read_topic
from processor.clock import Clock
from processor.kafka.controls import KafkaControls
from processor.ports.controls import Controls, ControlsSource
from simulation.cancels import SimControlsSink, SimControlsSource
from simulation.coverage import Coverage
from simulation.log import Brokers
from simulation.loop import VirtualLoop
from simulation.network import Network
from support.connection_switch import ConnectionSwitch
from support.recorders import RecordingControls
from support.virtual_time import run_in_virtual_time
from topics.controls import ControlRecord, decode_control
from topics.controls_reader import ControlsReader, TakeControl
from topics.limits import Invalid


class SinkStage(Protocol):
    @property
    def sink(self) -> Controls: ...

    async def written(self) -> list[ControlRecord]:
        """The records on the topic."""
        ...

    def cut(self) -> None:
        """Who connects from now on, until `heal`, can neither write nor read."""
        ...

    def heal(self) -> None: ...


class ControlsStage(SinkStage, Protocol):
    def source(self, take: TakeControl, lookback: float) -> ControlsSource: ...

    def now_ms(self) -> int:
        """The brokers' time."""
        ...

    async def put(self, value: bytes, ago: float = 0.0) -> None:
        """A record of another program, dated `ago` seconds back."""
        ...


SinkScenario = Callable[[SinkStage], Awaitable[None]]
ControlsScenario = Callable[[ControlsStage], Awaitable[None]]


class RecordedControls:
    """The fake of the api's tests."""

    def __init__(self) -> None:
        self.sink = RecordingControls()

    async def written(self) -> list[ControlRecord]:
        return self.sink.written

    def cut(self) -> None:
        self.sink.down = True

    def heal(self) -> None:
        self.sink.down = False


def on_recorder(scenario: SinkScenario) -> None:
    async def play() -> None:
        await scenario(RecordedControls())

    asyncio.run(play())


class ControlsOnKafka:
    """The adapters, with a broker."""

    def __init__(self, kafka: LocalKafka, topic: str, connection: ConnectionSwitch) -> None:
        self._bootstrap = kafka.bootstrap
        self._topic = topic
        self._connection = connection
        self.sink = KafkaControls(connection, controls_topic=topic)

    def source(self, take: TakeControl, lookback: float) -> ControlsSource:
        return ControlsReader(lambda: self._connection().arguments(), self._topic, take, lookback=lookback)

    async def written(self) -> list[ControlRecord]:
        return [read(record.value) async for record in read_topic(self._bootstrap, self._topic)]

    def now_ms(self) -> int:
        return Clock().wall_ms()

    async def put(self, value: bytes, ago: float = 0.0) -> None:
        at = self.now_ms() - int(ago * 1000)
        async with AIOKafkaProducer(bootstrap_servers=self._bootstrap) as producer:
            await producer.send_and_wait(self._topic, value, key=b"k", timestamp_ms=at)

    def cut(self) -> None:
        self._connection.is_cut = True

    def heal(self) -> None:
        self._connection.is_cut = False


def on_kafka(scenario: ControlsScenario, kafka: LocalKafka, topic: str, connection: ConnectionSwitch) -> None:
    async def play() -> None:
        stage = ControlsOnKafka(kafka, topic, connection)
        async with asyncio.timeout(100):
            await scenario(stage)
        await stage.sink.close()

    asyncio.run(play())


class SimulatedControls:
    """The simulation's clients, on virtual time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._random = Random(1)
        self._clock = Clock(loop.time, since_boot=loop.time, wall=lambda: 1_000_000 + loop.time())
        self._brokers = Brokers(loop, 1, self._clock.wall_ms)
        self._network = Network(loop, self._random, Coverage(), self._brokers)
        self.sink = SimControlsSink(self._brokers, self._network, self._random)

    def source(self, take: TakeControl, lookback: float) -> ControlsSource:
        return SimControlsSource(self._brokers, self._network, self._clock, self._random, take, lookback)

    async def written(self) -> list[ControlRecord]:
        log = self._brokers.controls
        return [read(record.value) for record in log.read(0, len(log.entries))]

    def now_ms(self) -> int:
        return self._clock.wall_ms()

    async def put(self, value: bytes, ago: float = 0.0) -> None:
        self._brokers.controls.append(value, b"k", self.now_ms() - int(ago * 1000), None, ())

    def cut(self) -> None:
        self._network.brokers_cut = True

    def heal(self) -> None:
        self._network.brokers_cut = False


def on_simulation(scenario: ControlsScenario) -> None:
    async def play(loop: VirtualLoop) -> None:
        await scenario(SimulatedControls(loop))

    run_in_virtual_time(play)


def read(value: bytes | None) -> ControlRecord:
    control = decode_control(value)
    assert not isinstance(control, Invalid)
    return control
