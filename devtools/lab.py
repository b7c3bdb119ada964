"""A lab: relays as processes of their own, an emulator in this process, a load, and a judge of the emulator's log.

The judge reads what was published on each channel (the emulator's log, without what it dropped for its id), once
strictly as published and once as a reader by the rules.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from devtools.deployment import Deployment
from devtools.emulator.server import LocalRealtime
from devtools.judge.frames import Report, check
from devtools.process import TokenstreamProcess
from devtools.produced import KINDS, WORDS, Produced, write
from devtools.published import count, published_on, stopped
from devtools.topic_reader import read_topic
from devtools.waiting import eventually
from topics.producer import TokenProducer
from topics.specs import TopicNames

SETTINGS = {"KAFKA_SESSION_TIMEOUT": "3", "SNAPSHOT_INTERVAL": "1"}


@dataclass
class Script:
    """The tokens of one response, at their pace."""

    tokens: int
    pause: float
    chance: random.Random
    parts: bool
    until: asyncio.Event | None

    async def __aiter__(self) -> AsyncIterator[tuple[str, str]]:
        number = 0
        while number < self.tokens or (self.until is not None and not self.until.is_set()):
            text = f"{self.chance.choice(WORDS)}{number} "
            yield (self.chance.choice(tuple(KINDS)) if self.parts else "text"), text
            number += 1
            await asyncio.sleep(self.pause * self.chance.uniform(0.5, 1.5))


class Lab(Deployment):
    """A deployment on an emulator in this process. `direct`: without one; its processes serve readers themselves."""

    def __init__(
        self, bootstrap: str, names: TopicNames, realtime: LocalRealtime, *, direct: bool = False, **settings: str
    ) -> None:
        super().__init__(
            bootstrap=bootstrap,
            names=names,
            endpoint=None if direct else realtime.endpoint,
            settings={**SETTINGS, **settings},
        )
        self.realtime = realtime
        self.produced: list[Produced] = []

    async def relay(self, *, ready: bool = True, role: str = "relay", **changes: str) -> TokenstreamProcess:
        relay = self.new(role, **changes)
        await relay.start()
        if ready:
            await relay.ready()
        return relay

    async def stream(
        self,
        *,
        responses: int,
        tokens: int,
        channels: int = 8,
        pause: float = 0.01,
        seed: int = 0,
        parts: bool = False,
        until: asyncio.Event | None = None,
    ) -> None:
        """Streams responses concurrently, `pause` seconds between the tokens of each; with `until`, at least till then."""
        async with TokenProducer(self.bootstrap, topic=self.names.tokens, controls_topic=None) as producer:
            await asyncio.gather(
                *(
                    self.write(
                        producer,
                        Produced(f"s{seed}-r{number}", f"chat:{number % channels}"),
                        Script(tokens, pause, random.Random(seed + number), parts=parts, until=until),
                    )
                    for number in range(responses)
                )
            )

    @asynccontextmanager
    async def streaming(self, **arguments: Any) -> AsyncIterator[None]:
        """Responses stream all the while, and end when this does."""
        until = asyncio.Event()
        streaming = asyncio.create_task(self.stream(tokens=0, until=until, **arguments))
        try:
            yield
        finally:
            until.set()
            await streaming

    async def write(self, producer: TokenProducer, produced: Produced, script: Script) -> None:
        self.produced.append(produced)
        await write(producer, produced, aiter(script))

    async def progress(self, frames: int, deadline: float = 60.0) -> None:
        """Waits until this many more frames have been published."""
        before = self.published()
        await eventually(lambda: self.published() >= before + frames, deadline=deadline)

    def finished(self) -> int:
        return sum(message.name == "stop" for messages in self.realtime.log.values() for message in messages)

    def published(self) -> int:
        return count(self.realtime.log)

    async def all_finished(self, deadline: float = 60.0) -> None:
        """Waits until every produced response has its stop on its channel."""
        wanted = {produced.response_id for produced in self.produced}

        def seen() -> bool:
            missing = wanted - stopped(self.realtime.log)
            assert not missing, (
                f"{len(missing)} unfinished, e.g. {sorted(missing)[:3]}; relays: {[process.tail(15) for process in self.processes]}"
            )
            return True

        await eventually(seen, deadline=deadline, every=0.1)

    def verdict(self) -> Report:
        """Of all channels, with what was produced on each."""
        report = Report()
        for channel in self.realtime.log.keys() | {produced.channel for produced in self.produced}:
            texts = {each.response_id: each.texts for each in self.produced if each.channel == channel}
            report.add(check(published_on(self.realtime.log, channel), texts))
        return report

    async def records(self) -> dict[str, dict[str, Any]]:
        """Returns the newest committed record of every response."""
        newest: dict[str, dict[str, Any]] = {}
        async for record in self.read(self.names.responses):
            newest[record.key.decode()] = json.loads(record.value)
        return newest

    async def dead_letters(self, response_id: str) -> list[dict[str, Any]]:
        """Returns the dead-lettered token records of a response, as on their topic."""
        values = [json.loads(record.value) async for record in self.read(self.names.dead_letters)]
        return [value for value in values if value["responseId"] == response_id]

    def read(self, topic: str) -> AsyncIterator[Any]:
        """Returns every committed record of a topic, in the order of each partition."""
        return read_topic(self.bootstrap, topic)


@asynccontextmanager
async def laboratory(bootstrap: str, names: TopicNames, *, limits: bool = False) -> AsyncIterator[Lab]:
    async with LocalRealtime(admin=True, limits=limits) as realtime:
        lab = Lab(bootstrap, names, realtime)
        try:
            yield lab
        finally:
            await lab.close()
