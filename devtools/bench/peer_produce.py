"""`python -m devtools.bench.peer_produce`: writes a load whose records name their channel in a header, as peers want it.

Values, keys and partitions are those of `devtools.bench.produce`. Both sides of a comparison read what this writes.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from aiokafka import AIOKafkaProducer

from devtools.bench.produce import RAMP, Order, Times, encoded, until
from devtools.bench.worker_process import next_order, orders, say

CHANNELS_HEADER = "channels"
MOST_IN_FLIGHT = 5_000


class Sending:
    """Writes records without waiting for each; counts them, and notes when each was handed over."""

    def __init__(self, order: Order, kafka: AIOKafkaProducer, times: Times) -> None:
        self._order = order
        self._kafka = kafka
        self._times = times
        self._in_flight: set[asyncio.Future[Any]] = set()
        self.count = 0

    async def send(self, number: int, seq: int, text: str | None) -> None:
        load = self._order.load
        channel = load.channel(number).encode()
        value = encoded(load, number, seq, text, time.time_ns() // 1_000_000)
        self._times.note(number, time.monotonic())
        future = await self._kafka.send(self._order.topic, value, key=channel, headers=[(CHANNELS_HEADER, channel)])
        self.count += 1
        self._in_flight.add(future)
        future.add_done_callback(self._in_flight.discard)
        if len(self._in_flight) > MOST_IN_FLIGHT:
            await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)

    async def finish(self) -> None:
        await asyncio.gather(*self._in_flight)


async def produce_at_pace(order: Order, sending: Sending) -> None:
    """As `devtools.bench.produce` does at a pace."""
    load = order.load
    slots = min(load.open, load.responses)
    interval = slots / load.tokens_per_second

    async def slot(first: int, began: float) -> None:
        due = began + min(RAMP, interval * load.tokens) * first / slots
        for number in range(first, load.responses, slots):
            await until(due)
            await sending.send(number, 0, None)
            texts = load.texts(number)
            for index, text in enumerate(texts):
                await until(due)
                await sending.send(number, index + 1, text)
                due += interval
            await sending.send(number, len(texts) + 1, None)

    async with asyncio.TaskGroup() as tasks:
        began = time.monotonic() + 0.05
        for first in range(slots):
            tasks.create_task(slot(first, began))


async def produce(order: Order, times: Times) -> int:
    """Returns the number of records, all of them acknowledged."""
    async with AIOKafkaProducer(bootstrap_servers=order.bootstrap, acks="all", enable_idempotence=True) as kafka:
        sending = Sending(order, kafka, times)
        if order.load.tokens_per_second:
            await produce_at_pace(order, sending)
        else:
            for number, seq, text in order.load.in_turns():
                await sending.send(number, seq, text)
        await sending.finish()
    return sending.count


async def work() -> None:
    reader = await orders()
    order = msgspec.convert(await next_order(reader), Order)
    say({"ready": True})
    while await next_order(reader) is not None:
        times, began = Times(order.load), time.monotonic()
        records = await produce(order, times)
        if order.times is not None:
            times.write(Path(order.times))
        say({"records": records, "began": began, "ended": time.monotonic()})


if __name__ == "__main__":
    uvloop.run(work())
