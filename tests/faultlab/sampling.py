"""Memory and lag, second by second, while the realtime service is away and model services write on."""

import asyncio
import contextlib
import time
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from faultlab.processes import resident
from faultlab.results import Sample
from faultlab.sides import Side
from faultlab.stand import PARTITIONS, Stand

CALM = 15.0
DOWN = 150.0
AFTER = 25.0


async def sampled(stand: Stand) -> None:
    async with LagProbe(stand) as probe:
        sampling = asyncio.create_task(_sample(stand, probe))
        try:
            await asyncio.sleep(CALM)
            stand.say(f"realtime down for {DOWN:.0f} s")
            for side in stand.sides:
                side.realtime.faults.add({"down": {"seconds": DOWN}})
            stand.down = True
            await asyncio.sleep(DOWN)
            stand.down = False
            stand.mark()
            stand.say("up again")
            await asyncio.sleep(AFTER)
        finally:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)


async def _sample(stand: Stand, probe: "LagProbe") -> None:
    began = time.monotonic()
    while True:
        lags = [await probe.lag(side) for side in stand.sides]
        memory = [resident(side.relays) for side in stand.sides]
        stand.samples.append(
            Sample(
                at=round(time.monotonic() - began, 1),
                down=stand.down,
                memory={side.name: round(one, 1) for side, one in zip(stand.sides, memory, strict=True)},
                lag={side.name: one for side, one in zip(stand.sides, lags, strict=True)},
            )
        )
        await asyncio.sleep(1)


class LagProbe:
    """Records of the tokens topic that a program has not yet committed."""

    def __init__(self, stand: Stand) -> None:
        self._topic = stand.names.tokens
        self._admin = AIOKafkaAdminClient(bootstrap_servers=stand.around.bootstrap)
        self._consumer = AIOKafkaConsumer(bootstrap_servers=stand.around.bootstrap)
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._admin.start()
        self._stack.push_async_callback(self._admin.close)
        await self._consumer.start()
        self._stack.push_async_callback(self._consumer.stop)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def lag(self, side: Side) -> int:
        group = self._topic if side.name == "tokenstream" else f"{self._topic}-plain"
        partitions = [TopicPartition(self._topic, number) for number in range(PARTITIONS)]
        ends = await self._consumer.end_offsets(partitions)
        committed = await self._admin.list_consumer_group_offsets(group)
        return sum(
            end - max(0, committed[partition].offset if partition in committed else 0)
            for partition, end in ends.items()
        )
