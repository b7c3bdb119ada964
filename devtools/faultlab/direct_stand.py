"""One row's laboratory without a realtime service: relays, gateways and an archive as processes, model services, readers of streams."""

import asyncio
import contextlib
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from devtools.direct_lab import DirectLab, direct_lab
from devtools.event_readers import Event, EventReader, StreamReader, hashes
from devtools.faultlab.load import Load, Shape
from devtools.faultlab.processes import Crew
from devtools.process import TokenstreamProcess
from devtools.stores import opened
from devtools.waiting import eventually
from processor.errors import KafkaUnavailable
from processor.gateway.events import read_frame
from processor.kafka.connection import KafkaConnection
from processor.kafka.log_follower import LogFollower
from processor.ports.store import ResponseStore

FINISH_DEADLINE = 240.0
STORED_DEADLINE = 120.0
MOVE_DEADLINE = 120.0
SMALL_BUFFER = 2**12
TEXT_FRAMES = ("token", "part")


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectSetup:
    """What a row needs. `settings` are those of all processes, without their prefix."""

    seed: int = 1
    shape: Shape = field(default_factory=Shape)
    relays: int = 1
    gateways: int = 2
    readers: int = 12
    settings: Mapping[str, str] = field(default_factory=dict)


class TimedEvents(EventReader):
    """Also keeps the times at which text arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def take(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.name in TEXT_FRAMES:
                self.times.append(time.time())
            super().take([event])


class DirectReader:
    """A reader of one channel. It comes back after every loss, to the next gateway. While `held`, it reads no data."""

    def __init__(self, channel: str, ports: Sequence[int], http: aiohttp.ClientSession) -> None:
        self.channel = channel
        self.events = TimedEvents()
        self.stream = StreamReader("/v1/events", list(ports), (("channel", channel),), state=self.events)
        self._http = http
        self._task: asyncio.Task[None] | None = None

    @property
    def held(self) -> bool:
        return not self.stream.hold.is_set()

    @held.setter
    def held(self, held: bool) -> None:
        if held:
            self.stream.hold.clear()
        else:
            self.stream.hold.set()

    def come(self) -> None:
        self._task = asyncio.create_task(self.stream.run(self._http))

    async def leave(self) -> None:
        """Closes the connection without notice, as a page does that is closed."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            if not self._task.cancelled():
                self._task.result()

    async def reload(self) -> None:
        """Starts without state from the beginning, as a page that is loaded again."""
        await self.leave()
        self.events = self.stream.state = TimedEvents()
        self.come()

    async def reconnect(self) -> None:
        """Continues after the last id, as a page whose connection was lost."""
        await self.leave()
        self.come()

    def text_hashes(self, response_id: str) -> Mapping[str, str]:
        return self.stream.texts({response_id}).get(response_id, {})


class FrameLog:
    """Follows the frames topic: everything that is published, including what is deleted there later."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._follower = LogFollower(lambda: KafkaConnection(bootstrap), topic)
        self.pieces: dict[str, list[str]] = {}
        self.stopped: set[str] = set()

    async def follow(self) -> None:
        positions: dict[int, int] = {}
        try:
            while True:
                with contextlib.suppress(KafkaUnavailable):
                    await self._follower.start(positions)
                    while True:
                        for record in await self._follower.fetch(500, 0.5):
                            positions[record.partition] = record.offset + 1
                            self._take(record.partition, record.offset, record.value)
        finally:
            await self._follower.stop()

    def _take(self, partition: int, offset: int, value: bytes | None) -> None:
        read = read_frame(partition, offset, 0, value)
        assert read is not None, f"offset {offset} of partition {partition} is no frame"
        if read.frame.has_text:
            self.pieces.setdefault(read.frame.response_id, []).append(read.frame.data)
        elif read.frame.name == "stop":
            self.stopped.add(read.frame.response_id)


@dataclass(slots=True)
class DirectStand:
    """What a scenario works with. `readers` always read; `others` do what the scenario makes them do."""

    setup: DirectSetup
    lab: DirectLab
    crew: Crew
    load: Load
    store: ResponseStore
    http: aiohttp.ClientSession
    log: FrameLog
    readers: list[DirectReader] = field(default_factory=list)
    others: list[DirectReader] = field(default_factory=list)
    marks: list[float] = field(default_factory=list)
    happened: list[str] = field(default_factory=list)
    struck: dict[str, int] = field(default_factory=dict)

    @property
    def relays(self) -> list[TokenstreamProcess]:
        return self.crew.of("relay")

    @property
    def gateways(self) -> list[TokenstreamProcess]:
        return self.crew.of("gateway")

    @property
    def everyone(self) -> list[DirectReader]:
        return [*self.readers, *self.others]

    def say(self, what: str) -> None:
        self.happened.append(what)
        print(f"  {time.strftime('%H:%M:%S')} {what}", flush=True)

    def mark(self) -> None:
        """From now on recovery is measured: the longest silence of any of `readers`, until the next mark."""
        self.marks.append(time.time())

    def strike(self, fault: str, count: int) -> None:
        self.struck[fault] = self.struck.get(fault, 0) + count

    def new_readers(self, count: int) -> list[DirectReader]:
        """They are spread over channels and gateways, and do not read yet."""
        ports, channels = [gateway.port for gateway in self.gateways], self.load.channels
        turns = [turn % len(ports) for turn in range(count)]
        return [
            DirectReader(channels[number % len(channels)], ports[turn:] + ports[:turn], self.http)
            for number, turn in enumerate(turns)
        ]

    async def come(self, readers: Sequence[DirectReader]) -> None:
        """Returns when all of them have their snapshots."""
        for reader in readers:
            reader.come()
        await eventually(lambda: all("ready" in reader.events.names for reader in readers), deadline=MOVE_DEADLINE)

    async def until_all_move(self) -> None:
        """Waits until each of `readers` has text that came after this call."""
        now = time.time()

        def moved() -> bool:
            return all(reader.events.times and reader.events.times[-1] > now for reader in self.readers)

        await in_time(moved, MOVE_DEADLINE)

    async def resets(self) -> int:
        counts = [await gateway.metric("tokenstream_gateway_resets_total") for gateway in self.gateways]
        return int(sum(counts))

    async def finish(self) -> None:
        """Waits until every reader has everything and all of it is stored, or the deadlines have passed."""
        wanted = {one.response_id: hashes(one.texts) for one in self.load.given}
        mine: dict[str, list[str]] = {}
        for one in self.load.given:
            mine.setdefault(one.channel, []).append(one.response_id)

        def all_read() -> bool:
            return all(
                reader.text_hashes(response_id) == wanted[response_id]
                for reader in self.everyone
                for response_id in mine.get(reader.channel, ())
            )

        await in_time(all_read, FINISH_DEADLINE)
        await in_time(lambda: wanted.keys() <= self.log.stopped, FINISH_DEADLINE)
        for response_id in wanted:
            await in_time(partial(self._is_stored, response_id), STORED_DEADLINE)

    async def _is_stored(self, response_id: str) -> bool:
        found = await self.store.get(response_id)
        return found is not None and found.record.status.finished


async def in_time(look: Callable[[], Any], deadline: float) -> None:
    """What is not done in time is counted afterwards, not raised."""
    with contextlib.suppress(AssertionError):
        await eventually(look, deadline=deadline, every=0.5)


@contextlib.asynccontextmanager
async def direct_stand(setup: DirectSetup, bootstrap: str) -> AsyncIterator[DirectStand]:
    """Everything started and ready and all of `readers` reading, the load not yet."""
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faultlab-")))
        lab = await stack.enter_async_context(direct_lab(bootstrap, f"lab-{uuid.uuid4().hex[:10]}", directory))
        store = await stack.enter_async_context(opened(f"sqlite:///{directory / 'store.db'}"))
        crew = Crew()
        stack.push_async_callback(crew.close)
        await _start(crew, lab, setup)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        connector = aiohttp.TCPConnector(limit=0)
        http = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=timeout, connector=connector, read_bufsize=SMALL_BUFFER)
        )
        assert lab.names.frames is not None
        log = FrameLog(bootstrap, lab.names.frames)
        load = Load(bootstrap, lab.names.tokens, setup.seed, setup.shape)
        stand = DirectStand(setup, lab, crew, load, store, http, log)
        stand.readers = stand.new_readers(setup.readers)
        working = [asyncio.create_task(crew.watch()), asyncio.create_task(log.follow())]
        try:
            await stand.come(stand.readers)
            yield stand
        finally:
            for task in working:
                task.cancel()
            ended = await asyncio.gather(*working, return_exceptions=True)
            await asyncio.gather(*(reader.leave() for reader in stand.everyone))
        for broken in (end for end in ended if isinstance(end, Exception)):
            raise broken  # from then on nothing was restarted, or what was published not seen


async def _start(crew: Crew, lab: DirectLab, setup: DirectSetup) -> None:
    roles = ["archive", *["relay"] * setup.relays, *["gateway"] * setup.gateways]
    async with asyncio.TaskGroup() as group:
        for role in roles:
            group.create_task(crew.add(lab.new(role, **setup.settings)))
