"""Model services that write responses, one after another in each of several slots, until they are stopped."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from devtools.produced import KINDS, WORDS, Produced, write
from topics.producer import TokenProducer

# A producer outlives the longest outage a row makes.
DELIVERY_DEADLINE = 300.0
PART_CHANGES = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """`slots` responses at a time over `channels` channels, `pause` seconds between the tokens of each."""

    slots: int = 8
    channels: int = 4
    pause: float = 0.06
    shortest: int = 40
    longest: int = 200
    padding: int = 0
    """Characters added to every token."""


class Load:
    """`given` has what was written, including the response that is being written."""

    def __init__(self, bootstrap: str, topic: str, seed: int, shape: Shape) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._seed = seed
        self.shape = shape
        self.given: list[Produced] = []
        self.ended_at = 0.0
        """When it began to end, in seconds since the epoch."""
        self._ending = asyncio.Event()

    @property
    def channels(self) -> list[str]:
        return [f"chat:{number}" for number in range(self.shape.channels)]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Write all the while; leaving lets every open response come to its stop."""
        async with TokenProducer(
            self._bootstrap, topic=self._topic, deadline=DELIVERY_DEADLINE, controls_topic=None
        ) as producer:
            slots = [asyncio.create_task(self._slot(producer, slot)) for slot in range(self.shape.slots)]
            try:
                yield
            finally:
                self.ended_at = time.time()
                self._ending.set()
                await asyncio.gather(*slots)

    async def _slot(self, producer: TokenProducer, slot: int) -> None:
        chance = random.Random(f"{self._seed}/{slot}")
        channel = self.channels[slot % self.shape.channels]
        await asyncio.sleep(self.shape.pause * chance.uniform(0, 20))
        number = 0
        while not self._ending.is_set():
            produced = Produced(f"s{self._seed}-{slot}-{number}", channel)
            self.given.append(produced)
            await write(producer, produced, self._script(chance))
            number += 1

    async def _script(self, chance: random.Random) -> AsyncIterator[tuple[str, str]]:
        padding = "." * self.shape.padding
        part = "reasoning"
        for number in range(1, chance.randint(self.shape.shortest, self.shape.longest) + 1):
            # Models write on in one part for a while; a frame holds one part only.
            part = chance.choice(tuple(KINDS)) if chance.random() < PART_CHANGES else part
            yield part, f"{chance.choice(WORDS)}{padding}<{number}>"
            await asyncio.sleep(self.shape.pause * chance.uniform(0.5, 1.5))
            if self._ending.is_set() and number >= self.shape.shortest:
                break
