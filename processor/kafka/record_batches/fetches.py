"""Replaces aiokafka's reading of batches by the safe one, for one consumer, from its start on.

It uses these internals of the library: `Fetcher._records`, which keeps every answer's records until they are taken;
`FetchResult._partition_records`, the iterator over them with its `next_fetch_offset`; `FetchResult.getall` and
`Fetcher.fetched_records`, which take them; and the client's `send`, whose answers to fetches are inspected.
`tests/integration/relay/test_kafka_internals.py` fails when they change.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult
from aiokafka.errors import for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.structs import ConsumerRecord

from processor.kafka.record_batches.batches import (
    Corrupt,
    RecordBatch,
    Trouble,
    Unreadable,
    format_of,
    frames,
    plausible_end,
)
from processor.kafka.record_batches.legacy import LegacyBatch
from processor.kafka.record_batches.limits import DEFAULT_MAX_BATCH_BYTES, TAKEN_BYTES
from processor.kafka.record_batches.sessions import FetchAnswer, FetchSession, SessionRequest
from topics.batch_format import CURRENT_FORMAT
from topics.client_tasks import finish_stop

PLACEHOLDER: Final = bytes(11) + b"\x0e" + bytes(14)
"""A batch that aiokafka takes for one and never looks into: it passes over an answer that it finds cut off."""
FAILED_READS: Final = frozenset({-1, 2, 56})
"""Answers by which a broker reports that it cannot read its own log (unknown, corrupt message, storage error)."""

HOLD: Final = 5.0
"""Seconds before what could not be read is asked for again: the log may be restored by then, or another broker lead."""
IDLE: Final = 0.25
TRICKLE: Final = 16 * 1024
"""Bytes of an answer below which the next fetch may wait for more records: above, a backlog is read."""

Make = Callable[[TopicPartition, Any], Any]
Refuse = Callable[[TopicPartition, Unreadable], Any]


class Fetches:
    """What one consumer reads. `troubles` names partitions that can't be read on, as of their newest answer."""

    def __init__(
        self,
        *,
        limit: int,
        make: Make | None,
        refuse: Refuse,
        noted: Callable[[Trouble], None],
        call_limit: int = TAKEN_BYTES,
        patience: float = 0.0,
    ) -> None:
        self.troubles: dict[TopicPartition, Trouble] = {}
        self.limit = limit
        self.make = make
        self.refuse = refuse
        self.committed_only = False
        self._call_limit = call_limit
        self.room = 0
        """Bytes of batches that may still be taken in this call."""
        self._patience = patience
        self._gather_until: dict[int, float] = {}
        """By node: records that come until a time of the loop's are fetched together."""
        self._noted = noted
        self._answers: dict[TopicPartition, bytes] = {}
        self._sessions: dict[int, FetchSession] = {}
        """By node of the cluster."""
        self._held: dict[TopicPartition, tuple[int, float]] = {}
        """Offsets that are not asked for until a time of the loop's."""

    def attach(self, consumer: AIOKafkaConsumer) -> None:
        fetcher, client = consumer._fetcher, consumer._client  # noqa: SLF001 - see above
        self.committed_only = fetcher._isolation_level == READ_COMMITTED  # noqa: SLF001
        fetcher._records = _Results(self)  # noqa: SLF001
        fetcher.fetched_records = _with_room(fetcher.fetched_records, self)
        client.send = _looking_at_fetches(client.send, self)

    async def asked(self, request: Any) -> bool:
        """Leave out of a fetch what is held; asked for again at once, it would be all that broker and client do.

        Whether anything is left to fetch; if not, that was waited for, for a moment.
        """
        if not self._held:
            return True
        now = asyncio.get_running_loop().time()
        request._topics = [  # noqa: SLF001
            (topic, wanted)
            for topic, numbers in request.topics
            if (wanted := [each for each in numbers if not self._holds(TopicPartition(topic, each[0]), each[1], now)])
        ]
        if not request.topics:
            await asyncio.sleep(IDLE)
        return bool(request.topics)

    def _holds(self, partition: TopicPartition, offset: int, now: float) -> bool:
        held, until = self._held.get(partition, (-1, now))
        if held == offset and now < until:
            return True
        self._held.pop(partition, None)
        return False

    async def ask(self, send: Any, node_id: int, request: Any, **options: Any) -> Any:
        """Sends a fetch in the node's session. Returns the answer as the library can take it."""
        session = self._sessions.get(node_id)
        if session is None:
            session = self._sessions[node_id] = FetchSession()
        if self._patience:
            await self._gather(node_id)
        try:
            response = await send(node_id, SessionRequest(session, request), **options)
        except BaseException:
            session.lost()
            raise
        if isinstance(response, FetchAnswer):
            session.answered(response)
        answer = self.answered(request, response)
        if self._patience:
            read = sum(len(fields[-1] or b"") for _, partitions in response.topics for fields in partitions)
            trickles = 0 < read < TRICKLE
            self._gather_until[node_id] = asyncio.get_running_loop().time() + self._patience if trickles else 0.0
        return answer

    async def _gather(self, node_id: int) -> None:
        """While records trickle, lets some come together: a fetch costs as much as several records. After a silence nothing waits."""
        rest = self._gather_until.get(node_id, 0.0) - asyncio.get_running_loop().time()
        if rest > 0:
            await asyncio.sleep(rest)

    def answered(self, request: Any, response: Any) -> "_Answer":
        """Keeps the bytes of an answer. Returns one that the library can't stumble over."""
        asked = {(topic, number): offset for topic, numbers in request.topics for number, offset, _ in numbers}
        topics = [
            (topic, [self._partition(topic, asked, *fields) for fields in partitions if (topic, fields[0]) in asked])
            for topic, partitions in response.topics
        ]
        return _Answer(response.API_VERSION, topics, getattr(response, "error", 0))

    def _partition(
        self, topic: str, asked: dict[tuple[str, int], int], number: int, code: int, *rest: Any
    ) -> tuple[Any, ...]:
        partition, data = TopicPartition(topic, number), rest[-1] or b""
        if code in FAILED_READS:
            cause = f"the broker answers {for_code(code).__name__}"
            self.note(Trouble(topic, number, asked.get((topic, number), -1), None, cause, of_broker=True))
        if code == 0 and (trouble := self.troubles.get(partition)) is not None:
            self._look_again(trouble, asked.get((topic, number), -1), rest[0], empty=not data)
        if code == 0 and data:
            self._answers[partition] = data
            return (number, code, *rest[:-1], PLACEHOLDER)
        return (number, code, *rest[:-1], b"")

    def _look_again(self, trouble: Trouble, asked: int, end: int, *, empty: bool) -> None:
        """Forget a trouble that an answer shows to be over: `end` is the log's. A batch that can be read shows it, too."""
        gone = empty and asked == trouble.offset and end <= trouble.offset  # a restored log may end there
        if trouble.of_broker or gone or asked > trouble.offset:
            del self.troubles[TopicPartition(trouble.topic, trouble.partition)]

    def take(self, partition: TopicPartition, records: Any) -> "Fetched":
        """The records of the newest answer, in the place of the library's."""
        return self.fetched(partition, records.next_fetch_offset, records._aborted_transactions)  # noqa: SLF001

    def fetched(self, partition: TopicPartition, start: int, aborted: Iterable[tuple[int, int]]) -> "Fetched":
        """The records from `start` on of the newest answer, which can be taken once."""
        return Fetched(self, partition, self._answers.pop(partition, b""), start, aborted)

    def drop_answer(self, partition: TopicPartition) -> None:
        """Frees the newest answer of a partition, which nobody takes."""
        self._answers.pop(partition, None)

    def drop_answers(self) -> None:
        self._answers.clear()

    def begin_call(self) -> None:
        """Makes room for the records of one call."""
        self.room = self._call_limit

    def within_room(self, records: "Fetched") -> Iterator[Any]:
        """Yields records until the batches that they come from exceed the room of this call."""
        while self.room > 0 and (record := next(records, None)) is not None:
            yield record

    def note(self, trouble: Trouble) -> None:
        """Records that a partition can't be read on; reports it once, however often it is tried."""
        partition = TopicPartition(trouble.topic, trouble.partition)
        known, self.troubles[partition] = self.troubles.get(partition), trouble
        self._held[partition] = trouble.offset, asyncio.get_running_loop().time() + HOLD
        if known != trouble:
            self._noted(trouble)


class _Results(OrderedDict[TopicPartition, Any]):
    """The fetcher's store of records that arrived and were not taken yet."""

    def __init__(self, fetches: Fetches) -> None:
        super().__init__()
        self._fetches = fetches

    def __setitem__(self, partition: TopicPartition, result: Any) -> None:
        if isinstance(result, FetchResult):
            result._partition_records = self._fetches.take(partition, result._partition_records)  # noqa: SLF001
            result.getall = _while_there_is_room(result, partition, self._fetches)
        super().__setitem__(partition, result)


def _with_room(fetched_records: Any, fetches: Fetches) -> Any:
    async def taken(*arguments: Any, **options: Any) -> Any:
        fetches.begin_call()
        return await fetched_records(*arguments, **options)

    return taken


def _while_there_is_room(result: FetchResult, partition: TopicPartition, fetches: Fetches) -> Any:
    """Replaces `FetchResult.getall`, which could decompress a whole answer at once. Leaves what has no room for the next call."""

    def getall(max_records: int | None = None) -> list[Any]:
        if not result.check_assignment(partition) or not result.has_more():
            return []
        records: Fetched = result._partition_records  # noqa: SLF001
        found = list(islice(fetches.within_room(records), max_records))
        result._update_position()  # noqa: SLF001
        if records.ended:
            result._partition_records = None  # noqa: SLF001
        return found

    return getall


class Fetched:
    """The records of one answer of one partition. Iterating raises nothing: it ends before what can't be passed over."""

    def __init__(
        self, fetches: Fetches, partition: TopicPartition, data: bytes, start: int, aborted: Iterable[tuple[int, int]]
    ) -> None:
        self._fetches = fetches
        self._partition = partition
        self._aborted = sorted(aborted or (), key=lambda each: each[1])
        self._aborting: set[int] = set()
        self._end: int | None = None
        self.next_fetch_offset = start
        self.ended = False
        self._records = self._read(data)

    def __iter__(self) -> Iterator[Any]:
        return self._records

    def __next__(self) -> Any:
        return next(self._records)

    def _read(self, data: bytes) -> Iterator[Any]:
        try:
            yield from self._read_on(data)
        except Corrupt as error:
            topic, number = self._partition
            self._fetches.note(Trouble(topic, number, self.next_fetch_offset, self._end, str(error)))
        self.ended = True

    def _read_on(self, data: bytes) -> Iterator[Any]:
        troubles, start = self._fetches.troubles, self.next_fetch_offset
        for frame in frames(data):
            self._end = plausible_end(frame)
            batch = _batch(frame)
            if troubles:
                troubles.pop(self._partition, None)
            if not self._is_hidden(batch) and batch.last_offset >= self.next_fetch_offset:
                yield from self._records_of(batch)
            self.next_fetch_offset = max(self.next_fetch_offset, batch.last_offset + 1)
        if self.next_fetch_offset == start:
            raise Corrupt("the answer holds only records before it")

    def _records_of(self, batch: RecordBatch | LegacyBatch) -> Iterator[Any]:
        fetches, partition, make = self._fetches, self._partition, self._fetches.make
        records = batch.records(self.next_fetch_offset, fetches.limit)
        first = list(islice(records, 1))
        fetches.room -= batch.size
        for record in chain(first, records):
            self.next_fetch_offset = record.offset + 1
            if record.__class__ is Unreadable:
                self.next_fetch_offset = record.last + 1
                if (refused := fetches.refuse(partition, record)) is not None:
                    yield refused
            else:
                yield record if make is None else make(partition, record)

    def _is_hidden(self, batch: RecordBatch | LegacyBatch) -> bool:
        """Whether nobody is to see the batch's records: a marker, or an aborted transaction's for who reads committed ones."""
        producer = batch.producer_id
        if self._fetches.committed_only and producer is not None:
            while self._aborted and self._aborted[0][1] <= batch.base_offset:
                self._aborting.add(self._aborted.pop(0)[0])
            if batch.is_control and _aborts(batch):
                self._aborting.discard(producer)
            if batch.is_transactional and producer in self._aborting:
                return True
        return batch.is_control


class SafeConsumer(AIOKafkaConsumer):  # type: ignore[misc]  # aiokafka is untyped
    """A consumer for libraries that make their own. Give it no topics: they are subscribed to once it has started."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.safely: dict[str, Any] = {}
        """What `read_safely` is to be given."""

    async def start(self) -> None:
        await super().start()
        read_safely(self, **self.safely)

    async def stop(self) -> None:
        await finish_stop(super().stop(), self._client)


def read_safely(
    consumer: AIOKafkaConsumer,
    *,
    limit: int = DEFAULT_MAX_BATCH_BYTES,
    as_read: bool = False,
    refuse: Refuse = lambda _partition, _unreadable: None,
    noted: Callable[[Trouble], None] = lambda _: None,
    call_limit: int = TAKEN_BYTES,
    patience: float = 0.0,
) -> Fetches:
    """To be called when the consumer has started, before it is assigned anything.

    A batch takes at most `limit` bytes decompressed, and the batches of one call `call_limit` and the last of them. What of it can't be read is given to `refuse`, which answers
    what is to come in its place, or None. `noted` is called where a partition can't be read on. With `as_read`,
    records come as the parser makes them, without what aiokafka's ConsumerRecord has besides.
    """
    make = None if as_read else _consumer_record
    fetches = Fetches(limit=limit, make=make, refuse=refuse, noted=noted, call_limit=call_limit, patience=patience)
    fetches.attach(consumer)
    return fetches


@dataclass(frozen=True, slots=True)
class _Answer:
    """The answer to a fetch, with what the library reads of one. Without topics, that of a fetch of nothing."""

    API_VERSION: int = 4
    topics: Sequence[tuple[str, Sequence[tuple[Any, ...]]]] = ()
    error: int = 0
    """Of the whole answer, which the library would not look at."""


def _looking_at_fetches(send: Any, fetches: Fetches) -> Any:
    async def sent(node_id: int, request: Any, **options: Any) -> Any:
        if not isinstance(request, FetchRequest):
            return await send(node_id, request, **options)
        if not await fetches.asked(request):
            return _Answer()
        return await fetches.ask(send, node_id, request, **options)

    return sent


def _batch(frame: bytes) -> RecordBatch | LegacyBatch:
    version = format_of(frame)
    if version > CURRENT_FORMAT:
        raise Corrupt(f"the batch has the format {version}, which is not known")
    return RecordBatch(frame) if version == CURRENT_FORMAT else LegacyBatch(frame)


def _aborts(batch: RecordBatch | LegacyBatch) -> bool:
    try:
        marker: Sequence[Any] = list(batch.records(0, DEFAULT_MAX_BATCH_BYTES))
        return bool(ControlRecord.parse(marker[0].key) == ABORT_MARKER)
    except Exception:  # noqa: BLE001 - a marker of a later version
        return False


def _consumer_record(partition: TopicPartition, record: Any) -> ConsumerRecord[Any, Any]:
    key, value = record.key, record.value
    return ConsumerRecord(
        partition.topic,
        partition.partition,
        record.offset,
        record.timestamp,
        record.timestamp_type,
        key,
        value,
        None,
        -1 if key is None else len(key),
        -1 if value is None else len(value),
        tuple(record.headers),
    )
