"""One row's laboratory: a broker, two realtime servers, the two programs, a store, model services and readers."""

import asyncio
import contextlib
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devtools.deployment import create_topics, names_after
from devtools.emulator.server import LocalRealtime
from devtools.faultlab.around import Around
from devtools.faultlab.lag import PARTITIONS, LagProbe
from devtools.faultlab.load import Load, Shape
from devtools.faultlab.readers import ChannelReader, reading
from devtools.faultlab.results import Sample
from devtools.faultlab.sides import (
    Side,
    is_stored,
    judge_plain,
    judge_tokenstream,
    plain_side,
    tokenstream_side,
)
from devtools.judge.texts import Tally, recovery
from devtools.stores import LocalPostgres, opened
from devtools.waiting import eventually
from processor.ports.store import ResponseStore
from topics.specs import TopicNames

KAFKA_DEADLINE = 300.0
FINISH_DEADLINE = 300.0
STORED_DEADLINE = 200.0
QUIET = 15.0
PLAIN_NAMES = {"KAFKA_BOOTSTRAP_SERVERS": "BOOTSTRAP", "ABLY_KEY_FILE": "KEY_FILE"}
"""What the plain program calls a setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a row needs. `settings` are tokenstream's, without their prefix."""

    seed: int = 1
    shape: Shape = field(default_factory=Shape)
    relays: int = 1
    limits: bool = False
    postgres: bool = False
    plain: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)
    unready: bool = False
    """The relays can't become ready before the fault is over."""


@dataclass(slots=True)
class Stand:
    """What a scenario works with."""

    setup: Setup
    directory: Path
    names: TopicNames
    load: Load
    tokenstream: Side
    plain: Side | None
    postgres: LocalPostgres | None
    store: ResponseStore
    readers: dict[str, ChannelReader]
    around: Around
    marks: list[float] = field(default_factory=list)
    recoveries: list[float | None] = field(default_factory=list)
    """Of the store, in seconds, where a row measures that instead."""
    struck: dict[str, int] = field(default_factory=dict)
    happened: list[str] = field(default_factory=list)
    refused: dict[str, list[int]] | None = None
    samples: list[Sample] = field(default_factory=list)
    down: bool = False
    found: set[str] = field(default_factory=set)

    @property
    def sides(self) -> list[Side]:
        return [self.tokenstream] if self.plain is None else [self.tokenstream, self.plain]

    def mark(self) -> None:
        """From now on recovery is measured: the longest silence of any channel, until the next mark."""
        self.marks.append(time.time())

    def say(self, what: str) -> None:
        self.happened.append(what)
        print(f"  {time.strftime('%H:%M:%S')} {what}", flush=True)

    async def each(self, act: Callable[[Side], Awaitable[object]]) -> None:
        await asyncio.gather(*(act(side) for side in self.sides))

    def add_faults(self, faults: Mapping[str, Any], plain: Mapping[str, Any] | None = None) -> None:
        """`plain`: other numbers for the plain program, where strikes are counted by publishes: it makes more of them."""
        self.tokenstream.realtime.faults.add(faults)
        if self.plain is not None:
            self.plain.realtime.faults.add(plain or faults)

    def all_faults_have_struck(self) -> bool:
        return all(listed["struck"] for listed in self.tokenstream.realtime.faults.listed())

    def clear_faults(self) -> None:
        """Every fault must have struck: one that did not proves nothing."""
        for listed in self.tokenstream.realtime.faults.listed():
            name = next(key for key in listed if key not in ("met", "struck"))
            self.struck[name] = self.struck.get(name, 0) + int(listed["struck"])
        for side in self.sides:
            side.realtime.faults.clear()

    async def progress(self, frames: int, deadline: float = 60.0) -> None:
        """Waits until tokenstream has published this many more frames."""
        before = self.tokenstream.published()
        await eventually(lambda: self.tokenstream.published() >= before + frames, deadline=deadline, every=0.1)

    async def until_all_channels_move(self) -> None:
        """Wait until every channel has a frame published after this call: three minutes for tokenstream, then one for both."""
        now = time.time()

        def moved(sides: Sequence[Side]) -> bool:
            frames = [side.frame_times().get(channel) for side in sides for channel in self.load.channels]
            return all(times and times[-1] > now for times in frames)

        await _in_time(lambda: moved([self.tokenstream]), 180.0)
        await _in_time(lambda: moved(self.sides), 60.0)

    async def store_recovers(self) -> None:
        """Measure how long it takes from now until all that has ended by now is stored."""
        began, wanted = time.monotonic(), self.tokenstream.stopped()
        try:
            await eventually(lambda: self.has_stored(wanted), deadline=STORED_DEADLINE, every=0.5)
        except AssertionError:
            self.recoveries.append(None)
        else:
            self.recoveries.append(time.monotonic() - began)

    async def has_stored(self, response_ids: Iterable[str]) -> bool:
        """Whether all of them are in the store, finished; what was found once is not asked for again."""
        try:
            async with asyncio.timeout(30):
                for response_id in set(response_ids) - self.found:
                    if not await is_stored(self.store, response_id):
                        return False
                    self.found.add(response_id)
        except Exception as error:  # noqa: BLE001 - a store that is down in the row's course
            print(f"  the store does not answer: {type(error).__name__}", flush=True)
            return False
        return True

    # The end

    async def finish(self) -> None:
        """Wait until all that was produced has ended everywhere, or the deadlines have passed."""
        refused = set(self.refused or ())
        wanted = {one.response_id for one in self.load.given}
        await _in_time(lambda: wanted - refused <= self.tokenstream.stopped(), FINISH_DEADLINE)
        await _in_time(lambda: self.has_stored(wanted), STORED_DEADLINE)
        for one in self.load.given:
            reader = self.readers[one.channel]
            shown = reader.reader.responses.get(one.response_id)
            if one.response_id not in refused and (shown is None or not shown.finished or shown.broken):
                await reader.load(one.response_id)
        if self.plain is not None:
            await self._plain_is_quiet(self.plain, wanted)

    async def _plain_is_quiet(self, plain: Side, wanted: set[str]) -> None:
        """It has consumed everything, and publishes no more."""
        async with LagProbe(self.around.bootstrap, self.names.tokens) as probe:

            async def consumed() -> bool:
                return await probe.lag(plain.group) == 0

            await _in_time(consumed, FINISH_DEADLINE)
        until = time.monotonic() + FINISH_DEADLINE
        seen, since = -1, time.monotonic()
        while time.monotonic() < min(until, since + QUIET) and not wanted <= plain.stopped():
            if plain.published() != seen:
                seen, since = plain.published(), time.monotonic()
            await asyncio.sleep(0.2)

    async def judge(self) -> dict[str, tuple[Tally, float | None]]:
        """Counts and recovery of each program."""
        given = self.load.given
        tally = await judge_tokenstream(self.tokenstream, given, self.readers, self.store, self.refused)
        for name, count in self.struck.items():
            if not count:
                tally.say(f"the fault {name} never struck")
        judged = {"tokenstream": (tally, self._recovery(self.tokenstream))}
        if self.plain is not None:
            judged["plain"] = (judge_plain(self.plain, given), self._recovery(self.plain))
        return judged

    def _recovery(self, side: Side) -> float | None:
        if self.recoveries and side is self.tokenstream:
            return _longest(self.recoveries)
        times = side.frame_times()
        times = {channel: times.get(channel, []) for channel in self.load.channels}
        ends = [*self.marks, self.load.ended_at][1:]
        return _longest([recovery(times, mark, end) for mark, end in zip(self.marks, ends, strict=True)])


def _longest(seconds: list[float | None]) -> float | None:
    known = [one for one in seconds if one is not None]
    return max(known) if known and len(known) == len(seconds) else None


async def _in_time(look: Callable[[], Any], deadline: float) -> None:
    """What is not done in time is counted afterwards, not raised."""
    with contextlib.suppress(AssertionError):
        await eventually(look, deadline=deadline, every=1)


@contextlib.asynccontextmanager
async def built(setup: Setup, around: Around) -> AsyncIterator[Stand]:
    """Everything started and ready, the load not yet."""
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faultlab-")))
        names = await create_topics(around.bootstrap, names_after(f"lab-{uuid.uuid4().hex[:10]}"), PARTITIONS)
        postgres = None
        url = f"sqlite:///{(around.disk or directory) / 'store.db'}"
        if setup.postgres:
            postgres = await asyncio.to_thread(LocalPostgres)
            stack.callback(postgres.close)
            url = await postgres.create_database()
        servers = [await stack.enter_async_context(LocalRealtime(admin=True, limits=setup.limits)) for _ in range(2)]
        settings = {"STORE_URL": url, "API_PUBLIC": "true", **setup.settings}
        ours = tokenstream_side(servers[0], around.bootstrap, names, settings)
        plain = plain_side(servers[1], around.bootstrap, names) if setup.plain else None
        for side in [ours, *([plain] if plain else [])]:
            stack.push_async_callback(side.crew.close)
        store = await stack.enter_async_context(opened(url))  # makes the tables
        await _start(setup, ours, plain, around)
        load = Load(around.bootstrap, names.tokens, setup.seed, setup.shape)
        api = ours.crew.of("api")[0].url
        readers = await stack.enter_async_context(reading(load.channels, ours.realtime.endpoint, api))
        stand = Stand(setup, directory, names, load, ours, plain, postgres, store, readers, around)
        watching = [asyncio.create_task(side.crew.watch()) for side in stand.sides]
        try:
            yield stand
        finally:
            for task in watching:
                task.cancel()
            ended = await asyncio.gather(*watching, return_exceptions=True)
        for broken in (end for end in ended if isinstance(end, Exception)):
            raise broken  # from then on nothing was restarted, and no peak seen


async def _start(setup: Setup, ours: Side, plain: Side | None, around: Around) -> None:
    """All at once. What publishes must be ready before the load begins."""
    changes, system = _changes(around)
    plains = {PLAIN_NAMES.get(name, name): value for name, value in changes.items()} | system
    if "KEY_FILE" in plains:
        plains["KEY"] = ""
    async with asyncio.TaskGroup() as group:
        for role in ("archive", "api"):
            group.create_task(ours.crew.add(ours.make(role), ready=False))
        for _ in range(setup.relays):
            relay = ours.make(**changes)
            relay.environment |= system
            group.create_task(ours.crew.add(relay, ready=not setup.unready))
            if plain is not None:
                group.create_task(plain.crew.add(plain.make(**plains)))


def _changes(around: Around) -> tuple[dict[str, str], dict[str, str]]:
    """Returns settings of the first relays that differ, and other variables of their environment."""
    changes: dict[str, str] = {}
    if around.proxy is not None:
        changes["KAFKA_BOOTSTRAP_SERVERS"] = f"127.0.0.1:{around.proxy.port}"
    if around.key_file is not None:
        changes["ABLY_KEY_FILE"] = str(around.key_file)
    return changes, around.clock.environment() if around.clock is not None else {}
