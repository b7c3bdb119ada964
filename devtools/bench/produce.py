"""`python -m devtools.bench.produce`: writes a load to the tokens topic, in a process of its own.

It writes as fast as Kafka accepts (in batches as a busy producer makes them), or at a rate, with `topics.producer`,
as a model service does. It notes when each record was passed to Kafka, by the clock that all processes share.
"""

import asyncio
import time
from array import array
from pathlib import Path
from typing import Any

import msgspec
import orjson
import uvloop
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import murmur2

from devtools.bench.load import REASONING, Load
from devtools.bench.worker_process import next_order, orders, say
from topics.codec import encode_token_event
from topics.producer import TokenProducer
from topics.records import Event

BATCH_BYTES = 16 * 1024
"""Kafka's default `batch.size`."""
BATCHES_IN_FLIGHT = 200
RAMP = 1.0
"""Seconds over which the first responses of a paced load begin."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """`times` is a file for the moments at which records were handed over; without, none are noted."""

    bootstrap: str
    topic: str
    partitions: int
    load: Load
    times: str | None = None


class Times:
    """When record `seq` of a response was handed over: seconds of the monotonic clock, which all processes share."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._of: dict[int, array[float]] = {}

    def note(self, number: int, moment: float) -> None:
        of = self._of.get(number)
        if of is None:
            of = self._of[number] = array("d")
        of.append(moment)

    def write(self, file: Path) -> None:
        with file.open("wb") as out:
            for number in range(self._load.responses):
                of = self._of.get(number, array("d"))
                array("q", [len(of)]).tofile(out)
                of.tofile(out)


def read_times(file: Path) -> list["array[float]"]:
    """By response, by sequence number."""
    found: list[array[float]] = []
    with file.open("rb") as source:
        while len(head := source.read(8)) == 8:
            count = array("q", head)[0]
            of = array("d")
            of.frombytes(source.read(8 * count))
            found.append(of)
    return found


def encoded(load: Load, number: int, seq: int, text: str | None, ts: int) -> bytes:
    """A record's value, byte for byte as `topics.producer` writes it."""
    response_id = load.response_id(number)
    if seq == 0:
        channel = load.channel(number)
        return encode_token_event(Event.START, response_id, 0, ts=ts, channel=channel, metadata={"model": "bench"})
    if text is None:
        return encode_token_event(Event.STOP, response_id, seq, ts=ts, reason="stop")
    part = load.part(seq - 1)
    kind = part.encode() if part == REASONING else None
    told = b',"kind":"%b","part":"%b"' % (kind, kind) if kind else b""
    # Formatted by hand: ten million of these are to be made in a minute.
    return b'{"v":1,"event":"token","responseId":"%b","seq":%d,"text":%b%b,"ts":%d}' % (
        response_id.encode(), seq, orjson.dumps(text), told, ts,
    )  # fmt: skip


async def produce_at_once(order: Order, times: Times | None) -> int:
    """Everything, in turns. The number of records."""
    load, kafka = (
        order.load,
        AIOKafkaProducer(
            bootstrap_servers=order.bootstrap, acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES
        ),
    )
    await kafka.start()
    in_flight: set[asyncio.Future[Any]] = set()
    keys = [channel.encode() for channel in load.all_channels()]
    places = [(murmur2(key) & 0x7FFFFFFF) % order.partitions for key in keys]
    batches = [kafka.create_batch() for _ in range(order.partitions)]

    async def send(place: int) -> None:
        batch, batches[place] = batches[place], kafka.create_batch()
        if batch.record_count():
            future = await kafka.send_batch(batch, order.topic, partition=place)
            in_flight.add(future)
            future.add_done_callback(in_flight.discard)
            while len(in_flight) > BATCHES_IN_FLIGHT:
                await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)

    count = 0
    try:
        for number, seq, text in load.in_turns():
            which = number % load.channels
            moment, ts = time.monotonic(), time.time_ns() // 1_000_000
            value = encoded(load, number, seq, text, ts)
            while batches[places[which]].append(timestamp=ts, key=keys[which], value=value) is None:
                await send(places[which])
            if times is not None:
                times.note(number, moment)
            count += 1
        for place in range(order.partitions):
            await send(place)
        await asyncio.gather(*in_flight)
    finally:
        await kafka.stop()
    return count


async def produce_at_pace(order: Order, times: Times) -> int:
    """Each open response writes its tokens evenly spread; they begin one after the other, not all at once."""
    load = order.load
    slots = min(load.open, load.responses)
    interval = slots / load.tokens_per_second
    count = 0

    async def slot(first: int, producer: TokenProducer, began: float) -> None:
        nonlocal count
        due = began + min(RAMP, interval * load.tokens) * first / slots
        for number in range(first, load.responses, slots):
            await until(due)
            times.note(number, time.monotonic())
            async with producer.response(
                load.channel(number), response_id=load.response_id(number), metadata={"model": "bench"}
            ) as response:
                for index, text in enumerate(load.texts(number)):
                    await until(due)
                    part = REASONING if load.part(index) == REASONING else None
                    times.note(number, time.monotonic())
                    await response.token(text, kind=part, part=part)
                    due += interval
                times.note(number, time.monotonic())
            count += response.seq

    async with (
        TokenProducer(order.bootstrap, order.topic, controls_topic=None) as producer,
        asyncio.TaskGroup() as tasks,
    ):
        began = time.monotonic() + 0.05
        for first in range(slots):
            tasks.create_task(slot(first, producer, began))
    return count


async def until(moment: float) -> None:
    """Late ones go at once: a producer that fell behind catches up, and its delay is no part of the latency."""
    if (wait := moment - time.monotonic()) > 0:
        await asyncio.sleep(wait)


async def work() -> None:
    reader = await orders()
    order = msgspec.convert(await next_order(reader), Order)
    say({"ready": True})
    while await next_order(reader) is not None:  # any line is the word to begin
        times = Times(order.load) if order.times is not None else None
        began = time.monotonic()
        if order.load.tokens_per_second:
            records = await produce_at_pace(order, times or Times(order.load))
        else:
            records = await produce_at_once(order, times)
        if times is not None and order.times is not None:
            times.write(Path(order.times))
        say({"records": records, "began": began, "ended": time.monotonic()})


if __name__ == "__main__":
    uvloop.run(work())
