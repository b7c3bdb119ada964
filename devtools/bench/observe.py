"""`python -m devtools.bench.observe`: sees what subscribers and readers of `responses` see, in a process of its own.

During the run it only stores what arrives and when. Afterwards it checks every token, and gives figures only if
nothing was wrong.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer

from devtools.bench.checking import Checker
from devtools.bench.figures import Observed, figures
from devtools.bench.load import Load
from devtools.bench.produce import read_times
from devtools.bench.subscribe import Subscriber
from devtools.bench.subscribe_stream import MAX_CHANNELS, StreamSubscriber
from devtools.bench.worker_process import next_order, orders, say
from processor.reader.frames import Message
from topics.codec import decode_response

FETCH_MS = 200
STREAMING = b'"status":"streaming"'
POLL = 0.02
QUIET = 0.3
"""Seconds without a frame after which none is on its way any more: the last ones precede the last final record."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """`times` is the producer's file of times; without it no latencies are reported."""

    bootstrap: str
    topic: str
    endpoint: str | None
    """`host:port` of the realtime server; not needed with a gateway."""
    key: str
    load: Load
    gateway: str | None = None
    """`host:port` of a gateway whose streams are read instead of the realtime server's channels."""
    channels_per_connection: int = 200
    times: str | None = None
    repeats_allowed: bool = False


class RecordsReader:
    """Follows the responses topic as any reader does, read_committed. Keeps final records, and counts the others."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self.finals: list[tuple[float, bytes]] = []
        self.finished: set[bytes] = set()
        self.snapshots = 0
        self.following = asyncio.Event()

    async def run(self) -> None:
        consumer = AIOKafkaConsumer(
            self._order.topic,
            bootstrap_servers=self._order.bootstrap,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_MS,
        )
        await consumer.start()
        try:
            self.following.set()
            while True:
                fetched = await consumer.getmany(timeout_ms=FETCH_MS)
                moment = time.monotonic()
                for records in fetched.values():
                    for record in records:
                        if record.value is None or STREAMING in record.value:
                            self.snapshots += 1
                        else:
                            self._note(moment, record.key, record.value)
        finally:
            await consumer.stop()

    def _note(self, moment: float, key: bytes, value: bytes) -> None:
        """Runs may share a stage: what is of another load is not looked at."""
        if self._order.load.number(key.decode()) is not None:
            self.finals.append((moment, value))
            self.finished.add(key)


def subscribers_of(order: Order) -> Sequence[Subscriber | StreamSubscriber]:
    channels, size, gateway = order.load.all_channels(), order.channels_per_connection, order.gateway
    if gateway is not None:
        size = min(size, MAX_CHANNELS)
    shares = [channels[first : first + size] for first in range(0, len(channels), size)]
    if gateway is not None:
        return [StreamSubscriber(gateway, share) for share in shares]
    assert order.endpoint is not None
    return [Subscriber(order.endpoint, order.key, share) for share in shares]


class Observation:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._after: list[float] = []
        self.records = RecordsReader(order)
        self.subscribers = subscribers_of(order)

    async def run(self, reader: asyncio.StreamReader) -> None:
        async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one.run(http)) for one in self.subscribers]
            running.append(tasks.create_task(self.records.run()))
            for one in self.subscribers:
                await one.attached.wait()
            await self.records.following.wait()
            say({"ready": True})
            while (order := await next_order(reader)) is not None:
                if "wait" in order:
                    say({"finished": await self._finished(float(order["wait"]))})
                elif "progress" in order:
                    say({"frames": self._kept(), "finals": len(self.records.finished)})
                else:
                    self._after = [float(moment) for moment in order["after"]]
                    break
            for task in running:
                task.cancel()

    async def _finished(self, within: float) -> bool:
        """Wait until every response has its final record, or the time is over; then for frames still on their way."""
        deadline = time.monotonic() + within
        while len(self.records.finished) < self._order.load.responses:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL)
        kept = -1
        while kept != self._kept():
            kept = self._kept()
            await asyncio.sleep(QUIET)
        return True

    def _kept(self) -> int:
        return sum(len(one.kept) for one in self.subscribers)

    def messages(self) -> Iterator[tuple[float, Message]]:
        for one in self.subscribers:
            yield from one.messages()

    def judge(self) -> dict[str, Any]:
        """The verdict, and the figures where it is good."""
        order = self._order
        checker = Checker(order.load)
        observed = Observed(snapshots=self.records.snapshots)
        for moment, message in self.messages():
            covered = checker.feed(message)
            if covered is not None:
                observed.note(message.name, moment, *covered)
        for moment, value in self.records.finals:
            if checker.commit(decode_response(value)):
                observed.finals.append(moment)
        verdict = checker.verdict()
        faults = verdict.faults(repeats_allowed=order.repeats_allowed)
        answer: dict[str, Any] = {"verdict": asdict(verdict), "faults": faults}
        if not faults:
            times = read_times(Path(order.times)) if order.times is not None else None
            answer["figures"] = msgspec.to_builtins(figures(order.load, observed, verdict, times, self._after))
        return answer


async def work() -> None:
    reader = await orders()
    observation = Observation(msgspec.convert(await next_order(reader), Order))
    await observation.run(reader)
    say(observation.judge())


if __name__ == "__main__":
    uvloop.run(work())
