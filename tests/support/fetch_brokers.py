"""Brokers as a fetch sees them: logs with holes and transactions, fetch sessions (KIP-227), leaders that move."""

import asyncio
import struct
from collections import OrderedDict
from io import BytesIO
from random import Random
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from devtools.raw_batches import sealed
from processor.kafka.fetching import Fetching
from processor.kafka.record_batches import read_safely
from processor.kafka.record_batches.sessions import FetchAnswer

TOPIC = "t"
VERSIONS = {1: (4, 17)}
NOT_LEADER, OUT_OF_RANGE, SESSION_UNKNOWN, SESSION_EPOCH = 6, 1, 70, 71
NO_PRODUCER = -1
ABORT, COMMIT = 0, 1
TRANSACTION, CONTROL = 0x10, 0x20
SESSIONS = 50

Place = tuple[str, int]


def place(number: int) -> TopicPartition:
    return TopicPartition(TOPIC, number)


def make_batch(
    base: int, kept: Any, last: int, *, producer: int = NO_PRODUCER, marker: int | None = None, size: int = 1
) -> bytes:
    """A batch of `base` to `last` of which compaction left the records `kept`, with values of `size` bytes."""
    transactional = producer != NO_PRODUCER
    epoch = 0 if transactional else -1
    builder = DefaultRecordBatchBuilder(2, 0, int(transactional and marker is None), producer, epoch, epoch, 1 << 30)
    if marker is not None:
        builder.append(0, 7, struct.pack(">hh", 0, marker), struct.pack(">hi", 0, 0), [])
    for offset in kept:
        builder.append(offset - base, 7, b"k", bytes(size), [])
    raw = bytearray(builder.build())
    struct.pack_into(">q", raw, 0, base)
    struct.pack_into(">i", raw, 23, last - base)
    if marker is not None:
        struct.pack_into(">h", raw, 21, struct.unpack_from(">h", raw, 21)[0] | TRANSACTION | CONTROL)
    return sealed(bytes(raw))


class Log:
    """One partition. `visible` has the offsets that a reader of committed records is to see."""

    def __init__(self) -> None:
        self.start = self.end = 0
        self.visible: set[int] = set()
        self._batches: list[tuple[int, int, bytes]] = []
        self._open: dict[int, list[int]] = {}
        self._aborted: list[tuple[int, int, int]] = []

    @property
    def stable_end(self) -> int:
        return min([offsets[0] for offsets in self._open.values()], default=self.end)

    @property
    def batches_end(self) -> int:
        return max((last + 1 for _, last, _ in self._batches), default=0)

    def add(self, base: int, last: int, batch: bytes) -> None:
        self._batches.append((base, last, batch))
        self.end = last + 1

    def append(self, random: Random) -> None:
        base, last = self.end, self.end + random.randint(0, 4)
        kept = [offset for offset in range(base, last + 1) if random.random() < 0.8]
        self.add(base, last, make_batch(base, kept, last))
        self.visible |= set(kept)
        if random.random() < 0.2:
            self.end += random.randint(1, 4)  # compaction left no batch there

    def append_in_transaction(self, random: Random) -> None:
        producer, base, last = random.randint(1, 3), self.end, self.end + random.randint(0, 3)
        offsets = list(range(base, last + 1))
        self.add(base, last, make_batch(base, offsets, last, producer=producer))
        self._open.setdefault(producer, []).extend(offsets)

    def finish_transaction(self, random: Random) -> None:
        if not self._open:
            return
        producer, outcome = random.choice(list(self._open)), random.choice((ABORT, COMMIT))
        offsets = self._open.pop(producer)
        if outcome == COMMIT:
            self.visible |= set(offsets)
        else:
            self._aborted.append((producer, offsets[0], self.end))
        self.add(self.end, self.end, make_batch(self.end, (), self.end, producer=producer, marker=outcome))

    def finish(self, random: Random) -> None:
        while self._open:
            self.finish_transaction(random)

    def read(self, offset: int, most: int, *, at_least_one: bool) -> tuple[bytes, list[tuple[int, int]]]:
        found: list[bytes] = []
        stable, size, reached = self.stable_end, 0, offset
        for base, last, batch in self._batches:
            if last < offset or base >= stable:
                continue
            if size + len(batch) > most and (found or not at_least_one):
                break
            found.append(batch)
            size, reached = size + len(batch), last
        aborted = [(producer, first) for producer, first, last in self._aborted if last >= offset and first <= reached]
        return b"".join(found), aborted if found else []


class _Session:
    def __init__(self, wanted: "OrderedDict[Place, list[int]]") -> None:
        self.epoch = 1
        self.wanted = wanted
        """Place -> offset, most bytes, the log's end in its last answer."""


class Brokers:
    """The library's client and its picture of the cluster, and the brokers behind it."""

    def __init__(self, random: Random, *, partitions: int, nodes: int) -> None:
        self.random = random
        self.nodes = nodes
        self.logs = [Log() for _ in range(partitions)]
        self.leaders: list[int | None] = [random.randrange(nodes) for _ in range(partitions)]
        self.known: list[int | None] = list(self.leaders)
        self.failing = 0.0
        """The part of requests and answers that is lost."""
        self.away: set[int] = set()
        self.error = 0
        """What every broker answers, of the whole answer."""
        self.refusals: dict[tuple[int, int], int] = {}
        """(node, partition) -> the code that it answers."""
        self.session_room = SESSIONS
        self.requests = self.looks = 0
        self.cluster = self
        self._sessions: list[dict[int, _Session]] = [{} for _ in range(nodes)]
        self.frozen: dict[int, float] = {}
        """Broker -> seconds for which its process is frozen at each request."""
        self._busy = [asyncio.Lock() for _ in range(nodes)]
        self._grown = asyncio.Condition()
        self._next_session = 100
        self._looking: asyncio.Future[None] | None = None

    # The client

    def leader_for_partition(self, partition: TopicPartition) -> int | None:
        number: int = partition.partition
        return self.known[number]

    def force_metadata_update(self) -> "asyncio.Future[None]":
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._look())
        return asyncio.shield(self._looking)

    async def _look(self) -> None:
        await asyncio.sleep(0.01)
        self.known = list(self.leaders)
        self.looks += 1

    async def send(self, node: int, request: Any) -> Any:
        self.requests += 1
        if node in self.away or self.random.random() < self.failing:
            await asyncio.sleep(0.001)
            raise KafkaConnectionError("away")
        asked = FetchRequest_v11.decode(request.prepare(VERSIONS).encode())
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        serving = asyncio.ensure_future(self._serve(node, asked, answer))
        answer.add_done_callback(lambda _: serving)  # keeps it
        return await answer

    async def _serve(self, node: int, request: Any, answer: "asyncio.Future[Any]") -> None:
        """Goes on when nobody waits for the answer any more, as a broker does."""
        async with self._busy[node]:
            if node in self.frozen:
                await asyncio.sleep(self.frozen[node])
            response = await self._answer(node, request)
        await asyncio.sleep(self.random.uniform(0, 0.003))
        if answer.done():
            return
        if self.random.random() < self.failing:
            answer.set_exception(KafkaConnectionError("cut"))
        else:
            answer.set_result(FetchAnswer.decode(BytesIO(response.encode())))

    # The brokers

    async def grown(self) -> None:
        async with self._grown:
            self._grown.notify_all()

    def evict_sessions(self, node: int) -> None:
        self._sessions[node].clear()

    async def _answer(self, node: int, request: Any) -> Any:
        session, error = self._session(node, request)
        if error or self.error:
            return FetchResponse_v11(0, error or self.error, 0, [])
        whole = request.session_epoch <= 0
        deadline = asyncio.get_running_loop().time() + request.max_wait_time / 1000
        while True:
            parts, has_news = self._parts(node, session, request.max_bytes, whole=whole)
            rest = deadline - asyncio.get_running_loop().time()
            if has_news or rest <= 0:
                return self._response(node, session, parts)
            try:
                async with asyncio.timeout(rest), self._grown:
                    await self._grown.wait()
            except TimeoutError:
                continue

    def _session(self, node: int, request: Any) -> tuple[_Session, int]:
        wanted = OrderedDict(
            ((topic, number), [offset, most, -1])
            for topic, numbers in request.topics
            for number, _, offset, _, most in numbers
        )
        sessions = self._sessions[node]
        if request.session_epoch <= 0:
            sessions.pop(request.session_id, None)
            return _Session(wanted), 0
        session = sessions.get(request.session_id)
        if session is None:
            return _Session(wanted), SESSION_UNKNOWN
        if session.epoch != request.session_epoch:
            return session, SESSION_EPOCH
        session.epoch += 1
        for key, (offset, most, _) in wanted.items():
            session.wanted.setdefault(key, [offset, most, -1])[:2] = offset, most
        for topic, numbers in request.forgotten_topics_data:
            for number in numbers:
                session.wanted.pop((topic, number), None)
        return session, 0

    def _parts(
        self, node: int, session: _Session, most: int, *, whole: bool
    ) -> tuple["OrderedDict[Place, tuple[Any, ...]]", bool]:
        parts: OrderedDict[Place, tuple[Any, ...]] = OrderedDict()
        has_news, left, first = False, most, True
        for key, (offset, limit, end) in session.wanted.items():
            part = self._part(node, key[1], offset, min(limit, left), at_least_one=first)
            first, left = first and not part[-1], left - len(part[-1])
            news = bool(part[0] or part[-1])
            has_news |= news
            if whole or news or part[1] != end:
                parts[key] = part
        return parts, has_news

    def _part(self, node: int, number: int, offset: int, most: int, *, at_least_one: bool) -> tuple[Any, ...]:
        log = self.logs[number]
        code = self.refusals.get((node, number), 0)
        if self.leaders[number] != node:
            code = NOT_LEADER
        elif not log.start <= offset <= log.end:
            code = OUT_OF_RANGE
        if code:
            return (code, -1, -1, -1, [], -1, b"")
        data, aborted = log.read(offset, most, at_least_one=at_least_one)
        return (0, log.end, log.stable_end, log.start, aborted, -1, data)

    def _response(self, node: int, session: _Session, parts: "OrderedDict[Place, tuple[Any, ...]]") -> Any:
        number = self._number_of(node, session)
        topics: dict[str, list[tuple[Any, ...]]] = {}
        for key, part in parts.items():
            session.wanted[key][2] = -1 if part[0] else part[1]
            if part[-1]:
                session.wanted.move_to_end(key)
            topics.setdefault(key[0], []).append((key[1], *part))
        return FetchResponse_v11(0, 0, number, list(topics.items()))

    def _number_of(self, node: int, session: _Session) -> int:
        """The session's number; 0 for one that there is no room for."""
        sessions = self._sessions[node]
        for number, each in sessions.items():
            if each is session:
                return number
        if session.epoch > 1 or len(sessions) >= self.session_room:
            return 0
        self._next_session += 1
        sessions[self._next_session] = session
        return self._next_session


class Reader:
    """A consumer of all partitions that reads by `Fetching`."""

    def __init__(self, brokers: Brokers, fetching: type[Fetching] = Fetching) -> None:
        self.subscriptions = SubscriptionState()
        self.subscriptions.subscribe({TOPIC})
        consumer: Any = SimpleNamespace(
            _client=brokers,
            _coordinator=SimpleNamespace(check_errors=lambda: None),
            _subscription=self.subscriptions,
            _fetcher=SimpleNamespace(
                _isolation_level=1,
                _fetch_task=SimpleNamespace(cancel=lambda: None),
                _records={},
                fetched_records=None,
            ),
        )
        self.fetches = read_safely(consumer, as_read=True, patience=0.004)
        self.retries = 0
        self.fetching = fetching(consumer, self.fetches, chance=Random(1).random, retried=self._count)
        self.partitions = set(map(place, range(len(brokers.logs))))

    def _count(self) -> None:
        self.retries += 1

    def assign(self) -> None:
        self.subscriptions._subscription._assign(self.partitions)

    def state(self, number: int) -> Any:
        return self.subscriptions.subscription.assignment.state_value(place(number))
