"""Realtime services for the contract of `processor.ports.realtime`: each with what a test does to it.

Another adapter joins by a stage of its own in `STAGES`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any, Protocol

from devtools.emulator.server import DEFAULT_KEY, LocalRealtime
from processor.ably.ably import AblyOptions
from processor.ably.provider import AblyRates, ably_provider
from processor.clock import Clock
from processor.ports.realtime import Provider
from simulation.coverage import Coverage
from simulation.loop import Node, VirtualLoop
from simulation.realtime import Service, sim_provider

Published = tuple[str | None, str, object]
"""(id, name, data)"""
CLIENT_ID = "tokenstream"
WRONG_KEY = "local.key:wrong-secret-of-a-key"


class Stage(Protocol):
    """A running service. What is done to it lasts until `heal`."""

    @property
    def provider(self) -> Provider: ...
    def published(self, channel: str) -> list[Published]:
        """What readers of the channel received, in order."""
        ...

    def forbid(self, channel: str) -> None:
        """The publisher may not publish on the channel."""
        ...

    def slow(self, channel: str) -> None:
        """The rate of the channel is exceeded."""
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

    def refuse_credentials(self) -> None:
        """To be called before a link runs: its credentials are not taken."""
        ...

    def change_credentials(self) -> None:
        """The publisher gets credentials that are taken."""
        ...

    def lose_histories(self) -> None:
        """No history can be read."""
        ...

    def heal(self) -> None: ...


Scenario = Callable[[Stage], Awaitable[None]]


class AblyStage:
    """The adapter of Ably, with the SDK, against the local realtime server."""

    def __init__(self, server: LocalRealtime, *, batches: bool) -> None:
        self._server = server
        self._batches = batches
        self._key = DEFAULT_KEY
        options = AblyOptions(key=lambda: self._key, client_id=CLIENT_ID, endpoint=server.endpoint, tls=False)
        rates = AblyRates(batches=batches)
        self.provider = ably_provider(options, rates, Clock(), Random(1))

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
    loop = VirtualLoop()  # type: ignore[abstract]  # it has what code without I/O asks for
    node = Node("relay-0")

    async def play() -> None:
        await scenario(SimStage(loop))

    try:
        loop.run(loop.spawn(play(), node))
    finally:
        loop.bury(lambda: [node])


STAGES: Mapping[str, Callable[[Scenario], None]] = {
    "simulation": on_simulation,
    "ably-realtime": lambda scenario: on_ably(scenario, batches=False),
    "ably-rest": lambda scenario: on_ably(scenario, batches=True),
}
