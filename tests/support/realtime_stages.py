"""Realtime services for the contract of `processor.ports.realtime`: each with what a test does to it.

Another adapter joins by a stage of its own in `STAGES`, and a line in `CAPABILITIES`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any, Protocol

from devtools.emulator.server import DEFAULT_KEY, LocalRealtime
from processor.ably.ably import AblyOptions
from processor.ably.provider import AblyRates, ably_provider
from processor.clock import Clock
from processor.core.backoff import Backoff
from processor.direct.link import DirectLink
from processor.direct.provider import PROFILE
from processor.direct.tail import FramesTail
from processor.errors import KafkaUnavailable, WriteForbidden
from processor.gateway.buffer import FrameBuffer
from processor.gateway.events import read_frame
from processor.ports.followed import FollowedRecord
from processor.ports.realtime import Link, Provider
from processor.telemetry.retry import Retry
from simulation.coverage import Coverage
from simulation.loop import VirtualLoop
from simulation.realtime import Service, sim_provider
from support.virtual_time import run_in_virtual_time

Published = tuple[str | None, str, object]
"""(id, name, data)"""
CLIENT_ID = "tokenstream"
WRONG_KEY = "local.key:wrong-secret-of-a-key"


class ForbidsChannels(Protocol):
    """A service that decides by channel who may publish."""

    def forbid(self, channel: str) -> None:
        """The publisher may not publish on the channel."""
        ...


class LimitsRates(Protocol):
    """A service that refuses messages above its rate."""

    def slow(self, channel: str) -> None:
        """The rate of the channel is exceeded."""
        ...


class ChecksCredentials(Protocol):
    """A service that refuses a publisher altogether."""

    def refuse_credentials(self) -> None:
        """To be called before a link runs: its credentials are not taken."""
        ...

    def change_credentials(self) -> None:
        """The publisher's credentials are taken from now on."""
        ...


class Stage(Protocol):
    """A running service. What is done to it lasts until `heal`. A fault that it cannot have is None."""

    @property
    def provider(self) -> Provider: ...
    @property
    def channel_rules(self) -> ForbidsChannels | None: ...
    @property
    def rate_limits(self) -> LimitsRates | None: ...
    @property
    def credentials(self) -> ChecksCredentials | None: ...
    def published(self, channel: str) -> list[Published]:
        """What readers of the channel received, in order."""
        ...

    def lose_answers(self) -> None:
        """Messages are published, and their acknowledgements are lost."""
        ...

    def end_connections(self) -> None:
        """The connections end while the next message waits for its answer."""
        ...

    def go_away(self) -> None:
        """The service cannot be reached."""
        ...

    def lose_histories(self) -> None:
        """No history can be read."""
        ...

    def heal(self) -> None: ...


Scenario = Callable[[Stage], Awaitable[None]]


class AblyStage:
    """The adapter of Ably, with the SDK, against the local realtime server."""

    def __init__(self, server: LocalRealtime, *, batches: bool) -> None:
        self.channel_rules = self.rate_limits = self.credentials = self
        self._server = server
        self._batches = batches
        self._key = DEFAULT_KEY
        options = AblyOptions(key=lambda: self._key, client_id=CLIENT_ID, endpoint=server.endpoint, tls=False)
        rates = AblyRates(batches=batches)
        self.provider = ably_provider(options, rates, Clock(), Random(1), lambda: None)

    def published(self, channel: str) -> list[Published]:
        return [(message.id, message.name or "", message.data) for message in self._server.log[channel]]

    def _fault(self, name: str, **rule: object) -> None:
        rules: Mapping[str, Any] = {name: rule}
        self._server.faults.add(dict(rules))

    def forbid(self, channel: str) -> None:
        self._fault("nack", code=40160, channel=f"^{channel}$")

    def slow(self, channel: str) -> None:
        self._fault("nack", code=42913, channel=f"^{channel}$")

    def lose_answers(self) -> None:
        self._fault("drop_ack")

    def end_connections(self) -> None:
        if self._batches:
            self._fault("odd_answer", accepted=True, times=1)
        else:
            self._fault("cut", publishes=1, times=1)

    def go_away(self) -> None:
        self._fault("down", seconds=3600.0)

    def refuse_credentials(self) -> None:
        self._key = WRONG_KEY

    def change_credentials(self) -> None:
        self._key = DEFAULT_KEY

    def lose_histories(self) -> None:
        self._fault("history", status=500)

    def heal(self) -> None:
        self._server.faults.clear()


def on_ably(scenario: Scenario, *, batches: bool) -> None:
    async def play() -> None:
        async with LocalRealtime(admin=True) as server:
            stage = AblyStage(server, batches=batches)
            try:
                async with asyncio.timeout(60):
                    await scenario(stage)
            finally:
                await stage.provider.histories.close()

    asyncio.run(play())


class SimStage:
    """The simulation's service, on virtual time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.channel_rules = self.rate_limits = self.credentials = self
        self._service = Service(loop, Random(1), Coverage())
        clock = Clock(loop.time, since_boot=loop.time, wall=loop.time)
        self.provider = sim_provider(self._service, "relay-0", clock, Random(1), key=lambda: self._key)
        self._key = "key"

    def published(self, channel: str) -> list[Published]:
        log = self._service.channel(channel).log
        return [(each.message.id, each.message.name, each.message.data) for each in log]

    def forbid(self, channel: str) -> None:
        self._service.channel(channel).forbidden = True

    def slow(self, channel: str) -> None:
        self._service.trouble.rate = 0.5

    def lose_answers(self) -> None:
        self._service.trouble.lose_ack = 1.0

    def end_connections(self) -> None:
        for client in list(self._service.clients):
            client.context.run(client.disconnect_busy, False)

    def go_away(self) -> None:
        self._service.trouble.down = True
        for client in list(self._service.clients):
            client.context.run(client.disconnect)

    def refuse_credentials(self) -> None:
        self._service.refused_keys = frozenset({self._key})

    def change_credentials(self) -> None:
        self._key = "another key"

    def lose_histories(self) -> None:
        self._service.trouble.history = "unavailable"

    def heal(self) -> None:
        trouble = self._service.trouble
        trouble.rate, trouble.lose_ack, trouble.down, trouble.history = 0.0, 0.0, False, "whole"


def on_simulation(scenario: Scenario) -> None:
    async def play(loop: VirtualLoop) -> None:
        await scenario(SimStage(loop))

    run_in_virtual_time(play)


class MemoryTopic:
    """The frames topic in memory, with what `FramesWriter` and `LogTail` do to it."""

    def __init__(self) -> None:
        self.records: list[FollowedRecord] = []
        self.silent = self.away = self.unreadable = self.forbidden = False
        self.ends_next = False

    def written(self, key: str, value: bytes, written_ms: int) -> None:
        self.records.append(FollowedRecord(0, len(self.records), written_ms, key.encode(), value))


class MemoryWriter:
    def __init__(self, topic: MemoryTopic) -> None:
        self._topic = topic

    async def start(self) -> None:
        if self._topic.away:
            raise KafkaUnavailable("no broker")

    async def write(self, key: str, value: bytes, written_ms: int) -> None:
        await asyncio.sleep(0)
        topic = self._topic
        if topic.away:
            raise KafkaUnavailable("no broker")
        if topic.forbidden:
            raise WriteForbidden("frames")
        topic.written(key, value, written_ms)
        if topic.ends_next:
            topic.ends_next = False
            raise KafkaUnavailable("the connection ended")
        if topic.silent:
            await asyncio.Event().wait()

    async def stop(self) -> None:
        pass


class MemoryTail:
    def __init__(self, topic: MemoryTopic) -> None:
        self._topic = topic

    async def partitions(self) -> int:
        return 1

    async def bounds(self, number: int) -> tuple[int, int]:
        if self._topic.unreadable:
            raise KafkaUnavailable("no broker")
        return 0, len(self._topic.records)

    async def read(self, number: int, start: int, end: int, take: Callable[[Sequence[FollowedRecord]], None]) -> None:
        take(self._topic.records[start:end])

    async def stop(self) -> None:
        pass


class DirectStage:
    """The adapter of the frames topic. Kafka's rules are for a topic, not for a channel, and its quotas delay and never refuse."""

    channel_rules: None = None
    rate_limits: None = None

    def __init__(self) -> None:
        self.credentials = self
        self._topic = MemoryTopic()

        def new_link(changed: Callable[[], None]) -> Link:
            return DirectLink(
                MemoryWriter(self._topic),
                Clock(),
                Retry(Backoff(first=0.2, cap=3.0), Random(1).random, lambda: None),
                changed,
            )

        histories = FramesTail(MemoryTail(self._topic), lambda _channel, _count: 0)
        self.provider = Provider(profile=PROFILE, new_link=new_link, histories=histories)

    def published(self, channel: str) -> list[Published]:
        """What a gateway gives."""
        buffer = FrameBuffer(2**24)
        buffer.begin(0, 0)
        for record in self._topic.records:
            if (read := read_frame(0, record.offset, record.written, record.value)) is not None:
                buffer.add(read.logged)
        frames = [frame.read_again() for frame in buffer.following([channel], 0, len(buffer))]
        return [(each.logged.id, each.logged.name, each.frame.data) for each in frames]

    def lose_answers(self) -> None:
        self._topic.silent = True

    def end_connections(self) -> None:
        self._topic.ends_next = True

    def go_away(self) -> None:
        self._topic.away = True

    def refuse_credentials(self) -> None:
        self._topic.forbidden = True

    def change_credentials(self) -> None:
        self._topic.forbidden = False

    def lose_histories(self) -> None:
        self._topic.unreadable = True

    def heal(self) -> None:
        self._topic.silent = self._topic.away = self._topic.unreadable = self._topic.ends_next = False


def on_direct(scenario: Scenario) -> None:
    async def play() -> None:
        async with asyncio.timeout(60):
            await scenario(DirectStage())

    asyncio.run(play())


STAGES: Mapping[str, Callable[[Scenario], None]] = {
    "simulation": on_simulation,
    "ably-realtime": lambda scenario: on_ably(scenario, batches=False),
    "ably-rest": lambda scenario: on_ably(scenario, batches=True),
    "direct": on_direct,
}

EVERY_FAULT = (True, True, True)
CAPABILITIES = {
    "simulation": EVERY_FAULT,
    "ably-realtime": EVERY_FAULT,
    "ably-rest": EVERY_FAULT,
    "direct": (False, False, True),
}
"""Whether a service forbids channels, limits rates and checks credentials."""
