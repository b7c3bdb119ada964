"""What the cluster's pods talk to, at the node's address: Kafka, the realtime service, a store, and the test itself.

The local realtime server and the PostgreSQL of the tests listen for this machine alone; a forwarder each lets pods in.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from devtools.deployment import create_topics
from devtools.emulator.server import DEFAULT_KEY, LocalRealtime
from devtools.judge.frames import Report, check
from devtools.kafka import LocalKafka
from devtools.produced import Produced
from devtools.stores import LocalPostgres
from processor.ably.ably import AblyOptions
from processor.ably.subscription import Interrupted, Subscription
from processor.reader.frames import Message
from support.waiting import eventually
from topics.specs import TopicNames

NODE = "10.88.0.1"
KAFKA_PORT, KAFKA_CONTROLLER_PORT, REALTIME_PORT, POSTGRES_PORT, WORK_PORT = 9092, 9093, 9094, 9095, 9096
CHANNELS = tuple(f"chat:{number}" for number in range(6))
PARTITIONS = 6

Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def forwarded(port: int, target: Callable[[], Awaitable[Opened]]) -> AsyncIterator[None]:
    """What connects to the node's `port` is connected to the target; connections are cut when left."""
    writers: set[asyncio.StreamWriter] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await target()
        except OSError:
            writer.close()
            return
        writers.update((writer, inner_writer))
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        writers.difference_update((writer, inner_writer))

    server = await asyncio.start_server(accept, NODE, port)
    try:
        yield
    finally:
        server.close()
        for writer in writers:
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@dataclass
class Work:
    """The questions that model pods answer: `open` it, and they get work; what they produced comes back."""

    open: bool = False
    produced: list[Produced] = field(default_factory=list)
    given: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Not answered yet: channel and pod, by number."""
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    async def give(self, request: web.Request) -> web.Response:
        if not self.open:
            return web.json_response(None)
        number, channel = next(self.numbers), self.chance.choice(CHANNELS)
        self.given[number] = (channel, (await request.json())["pod"])
        return web.json_response({"number": number, "channel": channel, "seed": number})

    async def take(self, request: web.Request) -> web.Response:
        report = await request.json()
        channel, pod = self.given.pop(report["work"])
        self.produced.append(Produced(report["responseId"], channel, report["texts"], report["tokens"], pod))
        return web.json_response({})

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        app = web.Application(client_max_size=8 * 2**20)
        app.add_routes([web.post("/work", self.give), web.post("/produced", self.take)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, NODE, WORK_PORT).start()
        try:
            yield
        finally:
            await runner.cleanup()


class Readers:
    """A subscriber on each channel, by the realtime service's own SDK; everything it was sent, in order."""

    def __init__(self, key: str, endpoint: str) -> None:
        self._options = AblyOptions(key=lambda: key, client_id="reader", endpoint=endpoint, tls=False)
        self.messages: dict[str, list[Message]] = {channel: [] for channel in CHANNELS}
        self.interruptions = 0
        self.stopped: set[str] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            following = []
            for channel in CHANNELS:
                subscription = await stack.enter_async_context(Subscription(self._options, channel))
                following.append(asyncio.create_task(self._follow(subscription, channel)))
            try:
                yield
            finally:
                for task in following:
                    task.cancel()
                await asyncio.gather(*following, return_exceptions=True)

    async def _follow(self, subscription: Subscription, channel: str) -> None:
        await subscription.next(10)  # that the channel was attached, which is how an interruption looks, too
        while True:
            item = await subscription.next(60)
            if isinstance(item, Interrupted):
                self.interruptions += 1
            elif item is not None:
                self.messages[channel].append(item)
                if item.name == "stop":
                    self.stopped.add(item.headers["responseId"])


@dataclass
class Outside:
    """All of it. `realtime` may be replaced by `new_realtime`, which is a new service with another key."""

    kafka: LocalKafka
    postgres: LocalPostgres
    realtime: LocalRealtime
    readers: Readers
    work: Work
    key: str = DEFAULT_KEY
    checked: int = 0
    """How many of `work.produced` earlier steps have checked."""
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def bootstrap(self) -> str:
        return f"{NODE}:{KAFKA_PORT}"

    @property
    def endpoint(self) -> str:
        return f"{NODE}:{REALTIME_PORT}"

    async def create_database(self) -> str:
        """The STORE_URL of a new, empty database, as pods reach it."""
        local = await self.postgres.create_database()
        name = local.split("@/", 1)[1].split("?", 1)[0]
        return f"postgresql://postgres@{NODE}:{POSTGRES_PORT}/{name}"

    async def new_realtime(self, key: str) -> None:
        """Another realtime service at the same address, which knows this key only."""
        await self.stack.aclose()
        await self.realtime.stop()
        self.key, port = key, self.realtime.port
        self.realtime = LocalRealtime(key=key, port=port, admin=True, names=(NODE,))
        await self.realtime.start()
        self.readers = Readers(key, self.realtime.endpoint)
        await self.stack.enter_async_context(self.readers.listening())

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """Model pods get work all the while, and at the end have answered all of it."""
        self.work.open = True
        try:
            yield
        finally:
            self.work.open = False
        await self.answered()

    async def answered(self, deadline: float = 300.0) -> None:
        """Every question given was answered, and every answer has its stop with the readers."""

        def is_done() -> bool:
            waiting = [f"{number} {where}" for number, where in self.work.given.items()]
            assert not waiting, f"{len(waiting)} questions are not answered, e.g. {waiting[:3]}"
            fresh = {one.response_id for one in self.work.produced[self.checked :]}
            missing = sorted(fresh - self.readers.stopped)
            assert not missing, f"{len(missing)} responses have no stop with the readers, e.g. {missing[:3]}"
            return True

        await eventually(is_done, deadline=deadline, every=0.1)

    async def more_answers(self, count: int, deadline: float = 300.0) -> None:
        """Waits until `count` more answers are complete."""
        wanted = len(self.work.produced) + count
        await eventually(lambda: len(self.work.produced) >= wanted, deadline=deadline, every=0.1)

    def judge(self) -> "Judged":
        """What readers got of what was produced since the last time, against what was produced."""
        fresh = self.work.produced[self.checked :]
        self.checked = len(self.work.produced)
        reports = [
            check(
                _of(self.readers.messages[channel], fresh),
                {one.response_id: one.texts for one in fresh if one.channel == channel},
            )
            for channel in CHANNELS
        ]
        return Judged(reports, fresh, self.readers.interruptions)


def _of(messages: Iterable[Message], produced: list[Produced]) -> list[Message]:
    wanted = {one.response_id for one in produced}
    return [message for message in messages if message.headers.get("responseId") in wanted]


@dataclass(frozen=True, slots=True)
class Judged:
    reports: list[Report]
    produced: list[Produced]
    interruptions: int

    @property
    def tokens(self) -> int:
        return sum(one.tokens for one in self.produced)

    @property
    def responses(self) -> int:
        return len(self.produced)

    def total(self, name: str) -> int:
        return sum(int(getattr(report, name)) for report in self.reports)

    @property
    def lost(self) -> int:
        return self.total("lost") + self.total("lost_for_reader") + self.total("holes") + self.total("unfinished")

    @property
    def repeated(self) -> int:
        return self.total("repeated_as_published") + self.total("repeated_for_reader")

    @property
    def out_of_order(self) -> int:
        return self.total("out_of_order")

    def require_faultless(self) -> None:
        details = [line for report in self.reports for line in report.details][:10]
        assert self.responses, "nothing was produced, so nothing was checked"
        assert all(report.perfect for report in self.reports), f"{[r.wrong for r in self.reports if r.wrong]} {details}"
        assert self.total("tokens") == self.tokens, (
            f"{self.tokens} produced, {self.total('tokens')} received; {details}"
        )
        assert not self.interruptions, f"the readers themselves were cut off {self.interruptions} times"


@asynccontextmanager
async def outside() -> AsyncIterator[Outside]:
    async with AsyncExitStack() as stack:
        kafka = LocalKafka(port=KAFKA_PORT, extra_properties=_kafka_at_the_node())
        stack.push_async_callback(kafka.close)
        await kafka.start(deadline=400)
        await create_topics(f"{NODE}:{KAFKA_PORT}", TopicNames(), PARTITIONS)
        postgres = await asyncio.to_thread(LocalPostgres)
        stack.callback(postgres.close)
        realtime = LocalRealtime(admin=True, names=(NODE,))
        await realtime.start()
        work = Work()
        await stack.enter_async_context(work.served())
        all_of_it = Outside(kafka, postgres, realtime, Readers(DEFAULT_KEY, realtime.endpoint), work)
        await stack.enter_async_context(
            forwarded(REALTIME_PORT, lambda: asyncio.open_connection("127.0.0.1", realtime.port))
        )
        await stack.enter_async_context(
            forwarded(POSTGRES_PORT, lambda: asyncio.open_unix_connection(_socket(postgres)))
        )
        await all_of_it.stack.enter_async_context(all_of_it.readers.listening())
        try:
            yield all_of_it
        finally:
            await all_of_it.stack.aclose()
            await all_of_it.realtime.stop()


def _socket(postgres: LocalPostgres) -> str:
    return f"{postgres._socket}/.s.PGSQL.5432"


def _kafka_at_the_node() -> dict[str, str]:
    return {
        "controller.quorum.voters": f"1@{NODE}:{KAFKA_CONTROLLER_PORT}",
        "listeners": f"PLAINTEXT://{NODE}:{KAFKA_PORT},CONTROLLER://{NODE}:{KAFKA_CONTROLLER_PORT}",
        "advertised.listeners": f"PLAINTEXT://{NODE}:{KAFKA_PORT}",
    }
