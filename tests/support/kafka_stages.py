"""Kafka for the contract of `processor.ports.log`: each with what a test does beside the ports.

A stage has one topic of tokens with two partitions, one of responses, and one group.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Protocol

from aiokafka import AIOKafkaProducer

from devtools.kafka import LocalKafka
from processor.clock import Clock
from processor.kafka import CommittedOffsets, Consumer, ResponsesReader, transactional_writers
from processor.kafka.connection import KafkaConnection
from processor.ports.log import OffsetsReader, RecordsReader, TokensConsumer, WriterFactory
from simulation.clients import SimConsumer, SimOffsets, SimResponses, SimWriter
from simulation.coverage import Coverage
from simulation.group import Group
from simulation.log import Brokers, Fate, Transaction
from simulation.loop import VirtualLoop
from simulation.network import Network
from support.connection_switch import ConnectionSwitch, no_broker
from support.token_log import flip_a_bit, limit_topic, trim_topic
from support.virtual_time import run_in_virtual_time
from topics.specs import TopicNames

PARTITIONS = 2
SESSION = 6.0
REBALANCE = 10.0
ISOLATION = "read_committed"


class KafkaStage(Protocol):
    @property
    def tokens_topic(self) -> str: ...
    @property
    def responses_topic(self) -> str: ...
    @property
    def writer_of(self) -> WriterFactory: ...
    def consumer(self) -> TokensConsumer:
        """Another member of the group."""
        ...

    def offsets(self) -> OffsetsReader: ...
    def responses(self) -> RecordsReader: ...
    def now(self) -> float:
        """Monotonic seconds, as the consumers' clock has them."""
        ...

    async def produce(self, partition: int, *values: bytes) -> None:
        """Records on the tokens topic, with the key `k` and the header `h: x`."""
        ...

    async def produce_open(self, partition: int, value: bytes) -> Callable[[bool], Awaitable[None]]:
        """A record in a transaction that stays open. What is returned commits it, or aborts it."""
        ...

    async def limit_responses(self, size: int) -> None:
        """The topic of responses takes no larger record than `size` bytes from now on."""
        ...

    async def damage(self, partition: int, offset: int, value: bytes) -> None:
        """Changes the bytes of a record on the tokens topic as a disk does: no other one has this value."""
        ...

    def cut(self) -> None:
        """No new connection to Kafka succeeds until `restore`, and perhaps no request over another one."""
        ...

    def restore(self) -> None: ...

    def end_client(self, consumer: TokensConsumer) -> None:
        """Ends the task of a consumer that takes part in the group, as an error in the client does."""
        ...

    async def trim(self, topic: str, partition: int, before: int) -> None:
        """Deletes the records before an offset, as retention does."""
        ...


Scenario = Callable[[KafkaStage], Awaitable[None]]


class RealStage:
    """The adapter, with a broker."""

    def __init__(self, kafka: LocalKafka, names: TopicNames) -> None:
        self._names = names
        self._kafka = kafka
        self._bootstrap = kafka.bootstrap
        self.tokens_topic, self.responses_topic = names.tokens, names.responses
        self._source = ConnectionSwitch(KafkaConnection(self._bootstrap), no_broker)
        self.writer_of = transactional_writers(
            self._source, group_id=names.tokens, topic=names.tokens, max_bytes=1 << 20
        )

    def consumer(self) -> TokensConsumer:
        return Consumer(
            self._source,
            topic=self._names.tokens,
            group_id=self._names.tokens,
            instance_id=None,
            session_timeout=SESSION,
            rebalance_timeout=REBALANCE,
            isolation_level=ISOLATION,
            clock=Clock(),
        )

    def offsets(self) -> OffsetsReader:
        return CommittedOffsets(self._source, self._names.tokens, self._names.tokens)

    def responses(self) -> RecordsReader:
        return ResponsesReader(self._source, self._names.responses)

    def now(self) -> float:
        return Clock().monotonic()

    async def produce(self, partition: int, *values: bytes) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self._bootstrap) as producer:
            for value in values:
                await producer.send_and_wait(
                    self._names.tokens, value, key=b"k", partition=partition, headers=[("h", b"x")]
                )

    async def produce_open(self, partition: int, value: bytes) -> Callable[[bool], Awaitable[None]]:
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap, transactional_id=f"{self._names.tokens}-open")
        await producer.start()
        await producer.begin_transaction()
        await producer.send_and_wait(self._names.tokens, value, key=b"k", partition=partition)

        async def end(commit: bool) -> None:
            await (producer.commit_transaction() if commit else producer.abort_transaction())
            await producer.stop()

        return end

    async def limit_responses(self, size: int) -> None:
        await limit_topic(self._bootstrap, self._names.responses, size)

    async def damage(self, partition: int, offset: int, value: bytes) -> None:
        del offset
        await asyncio.to_thread(flip_a_bit, self._kafka.data, self._names.tokens, partition, value)

    def cut(self) -> None:
        self._source.is_cut = True

    def restore(self) -> None:
        self._source.is_cut = False

    def end_client(self, consumer: TokensConsumer) -> None:
        assert isinstance(consumer, Consumer)
        consumer._consumer._coordinator._coordination_task.cancel()

    async def trim(self, topic: str, partition: int, before: int) -> None:
        await trim_topic(self._bootstrap, topic, partition, before)


def on_kafka(scenario: Scenario, kafka: LocalKafka, names: TopicNames) -> None:
    async def play() -> None:
        async with asyncio.timeout(100):
            await scenario(RealStage(kafka, names))

    asyncio.run(play())


class SimStage:
    """The simulation's clients, on virtual time."""

    tokens_topic, responses_topic = "tokens", "responses"

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._random = Random(1)
        self._clock = Clock(loop.time, since_boot=loop.time, wall=loop.time)
        self._brokers = Brokers(loop, PARTITIONS, self._clock.wall_ms)
        self._group = Group(loop, self._random, PARTITIONS, SESSION, REBALANCE)
        self._network = Network(loop, self._random, Coverage(), self._brokers)
        loop.outside(0.5, self._expire)

    def _expire(self) -> None:
        self._group.expire()
        self._loop.outside(0.5, self._expire)

    def writer_of(self, number: int) -> SimWriter:
        return SimWriter(self._brokers, self._network, number)

    def consumer(self) -> TokensConsumer:
        return SimConsumer(self._brokers, self._group, self._network, self._clock)

    def offsets(self) -> OffsetsReader:
        return SimOffsets(self._brokers, self._network)

    def responses(self) -> RecordsReader:
        return SimResponses(self._brokers, self._network)

    def now(self) -> float:
        return self._clock.monotonic()

    async def produce(self, partition: int, *values: bytes) -> None:
        for value in values:
            self._brokers.tokens[partition].append(value, b"k", 7, None, (("h", b"x"),))

    async def produce_open(self, partition: int, value: bytes) -> Callable[[bool], Awaitable[None]]:
        log, transaction = self._brokers.tokens[partition], Transaction()
        log.append(value, b"k", 7, transaction, ())

        async def end(commit: bool) -> None:
            transaction.fate = Fate.COMMITTED if commit else Fate.ABORTED
            log.mark()
            log.grow()

        return end

    async def limit_responses(self, size: int) -> None:
        self._brokers.max_message_bytes["responses"] = size

    async def damage(self, partition: int, offset: int, value: bytes) -> None:
        del value
        self._brokers.tokens[partition].damaged.add(offset)

    def cut(self) -> None:
        self._network.brokers_cut = self._network.coordinator_cut = True

    def restore(self) -> None:
        self._network.brokers_cut = self._network.coordinator_cut = False

    def end_client(self, consumer: TokensConsumer) -> None:
        assert isinstance(consumer, SimConsumer)
        consumer.fail()

    async def trim(self, topic: str, partition: int, before: int) -> None:
        self._brokers.log(topic, partition).trim(before)


def on_simulation(scenario: Scenario) -> None:
    async def play(loop: VirtualLoop) -> None:
        await scenario(SimStage(loop))

    run_in_virtual_time(play)
