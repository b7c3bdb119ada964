"""`python -m devtools.bench.peer_observe`: what subscribers of Centrifugo get of a load, each record judged when the run is over.

It speaks Centrifugo's JSON protocol. A subscriber whose connection ends connects and subscribes again, as the service's own clients do.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import orjson
import uvloop

from devtools.bench.figures import Spread, spread
from devtools.bench.load import Load
from devtools.bench.produce import read_times
from devtools.bench.worker_process import next_order, orders, say
from devtools.judge.texts import Tally
from devtools.produced import Produced

AGAIN = 0.1
POLL = 0.5
RECORD = '"responseId"'
"""What every record has once."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    endpoint: str
    load: Load
    times: str
    channels_per_connection: int = 200


class Record(msgspec.Struct, rename="camel"):
    response_id: str
    seq: int
    event: str
    text: str = ""


class _Publication(msgspec.Struct):
    data: Record


class _Push(msgspec.Struct):
    pub: _Publication | None = None


class _Subscribed(msgspec.Struct):
    publications: list[_Publication] = []


class _Reply(msgspec.Struct):
    push: _Push | None = None
    subscribe: _Subscribed | None = None

    def kept(self) -> list[Record]:
        """Returns those that the channel kept, with which a subscription began."""
        return [] if self.subscribe is None else [each.data for each in self.subscribe.publications]

    def records(self) -> list[Record]:
        """Returns those that were kept, or that of a push."""
        return self.kept() if self.push is None or self.push.pub is None else [self.push.pub.data]


_decode = msgspec.json.Decoder(_Reply).decode


class Subscriber:
    """One connection, subscribed to some channels. `kept` grows: (moment, frame as it came)."""

    def __init__(self, endpoint: str, channels: Sequence[str]) -> None:
        self._url = f"ws://{endpoint}/connection/websocket"
        self._channels = channels
        self.kept: list[tuple[float, str]] = []
        self.subscribed = asyncio.Event()

    async def run(self, http: aiohttp.ClientSession) -> None:
        while True:
            try:
                async with http.ws_connect(self._url, max_msg_size=0) as socket:
                    await self._subscribe(socket)
                    await self._keep(socket)
            except (aiohttp.ClientError, OSError):
                pass
            await asyncio.sleep(AGAIN)

    async def _subscribe(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """With what the channels keep: one that connects again gets what it missed, and what it had."""
        kept = {"recover": True, "offset": 0, "epoch": ""}
        commands: list[dict[str, Any]] = [{"id": 1, "connect": {}}]
        commands += [{"id": at + 2, "subscribe": {"channel": name, **kept}} for at, name in enumerate(self._channels)]
        await socket.send_str("\n".join(orjson.dumps(command).decode() for command in commands))

    async def _keep(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        awaited = len(self._channels) + 1
        keep, now = self.kept.append, time.monotonic
        async for received in socket:
            if received.type is not aiohttp.WSMsgType.TEXT:
                continue
            text: str = received.data
            if text == "{}":
                await socket.send_str("{}")  # a ping, and its answer
            else:
                keep((now(), text))
                if awaited > 0:
                    awaited -= sum(line.startswith('{"id"') for line in text.split("\n"))
                    if awaited <= 0:
                        self.subscribed.set()


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """What subscribers got of a load: counts of tokens, moments of the monotonic clock, durations in seconds.

    `kept` counts the records with which subscriptions began. `complete` is False where the observer stopped waiting
    before every record came.
    """

    tokens: int
    lost: int
    repeated: int
    reordered: int
    kept: int
    complete: bool
    problems: list[str]
    first: float
    last: float
    stall: float
    latency: Spread | None
    first_token: Spread | None


class Received:
    """The records of a load, in their order, for the judge."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._pieces: list[list[str]] = [[] for _ in range(load.responses)]
        self._stopped: set[int] = set()
        self.moments: dict[tuple[int, int], float] = {}
        """When each token came first, by response and seq."""

    def take(self, moment: float, record: Record) -> None:
        number = self._load.number(record.response_id)
        if number is None:
            return
        if record.event == "token":
            self._pieces[number].append(numbered(record.text, record.seq))
            self.moments.setdefault((number, record.seq), moment)
        elif record.event == "stop":
            self._stopped.add(number)

    def judge(self) -> Tally:
        """Returns the counts of what was taken so far, and of what is missing."""
        tally = Tally()
        for number, pieces in enumerate(self._pieces):
            produced = _produced(self._load, number)
            tally.given([produced])
            tally.published(produced, pieces, stopped=number in self._stopped)
        return tally


def numbered(text: str, seq: int) -> str:
    """Returns a token as the judge of texts reads it: with its number at its end."""
    return f"{text}<{seq}>"


def _produced(load: Load, number: int) -> Produced:
    produced = Produced(load.response_id(number), load.channel(number))
    for index, text in enumerate(load.texts(number)):
        produced.add(load.part(index), numbered(text, index + 1))
    return produced


class Arrived:
    """Whether every record of a load came, by what each connection has kept so far."""

    def __init__(self, load: Load, kept: Sequence[Sequence[tuple[float, str]]]) -> None:
        self._expected = load.count() + 2 * load.responses
        self._kept = kept
        self._read = [0] * len(kept)
        self._different: set[tuple[str, int]] = set()

    def all(self) -> bool:
        """A record that came repeatedly counts once. Decodes nothing before enough came, so as not to delay the rest."""
        if sum(text.count(RECORD) for kept in self._kept for _, text in kept) < self._expected:
            return False
        for at, kept in enumerate(self._kept):
            new = kept[self._read[at] :]
            self._read[at] += len(new)
            records = (each for _, text in new for reply in replies_in(text) for each in reply.records())
            self._different.update((each.response_id, each.seq) for each in records)
        return len(self._different) >= self._expected


def replies_in(text: str) -> Iterator[_Reply]:
    """Yields the lines of a frame that have a record, decoded."""
    return (_decode(line) for line in text.split("\n") if RECORD in line)


def judge(order: Order, kept: Sequence[tuple[float, str]], *, complete: bool) -> Delivered:
    received, were_kept = Received(order.load), 0
    for moment, text in sorted(kept, key=lambda each: each[0]):
        for reply in replies_in(text):
            were_kept += len(reply.kept())
            for record in reply.records():
                received.take(moment, record)
    tally, times = received.judge(), read_times(Path(order.times))
    came = [(moment, number, seq) for (number, seq), moment in received.moments.items() if seq < len(times[number])]
    moments = sorted(received.moments.values())
    return Delivered(
        tokens=tally.tokens - len(tally.lost),
        lost=len(tally.lost),
        repeated=tally.repeated_as_published,
        reordered=tally.out_of_order,
        kept=were_kept,
        complete=complete,
        problems=tally.problems,
        first=min(moments, default=0.0),
        last=max(moments, default=0.0),
        stall=max((later - moment for moment, later in pairwise(moments)), default=0.0),
        latency=spread([moment - times[number][seq] for moment, number, seq in came]),
        first_token=spread([moment - times[number][0] for moment, number, seq in came if seq == 1]),
    )


async def work() -> None:
    reader = await orders()
    order = msgspec.convert(await next_order(reader), Order)
    channels, size = order.load.all_channels(), order.channels_per_connection
    subscribers = [Subscriber(order.endpoint, channels[at : at + size]) for at in range(0, len(channels), size)]
    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one.run(http)) for one in subscribers]
        for one in subscribers:
            await one.subscribed.wait()
        say({"ready": True})
        arrived = Arrived(order.load, [one.kept for one in subscribers])
        while (told := await next_order(reader)) is not None:
            complete = await _until_all(arrived, float(told["within"]))
            kept = [each for one in subscribers for each in one.kept]
            say(msgspec.to_builtins(judge(order, kept, complete=complete)))
        for task in running:
            task.cancel()


async def _until_all(arrived: Arrived, within: float) -> bool:
    """Waits until every record that was produced came. Returns False if that took more than `within` seconds."""
    deadline = time.monotonic() + within
    while not arrived.all():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(POLL)
    return True


if __name__ == "__main__":
    uvloop.run(work())
