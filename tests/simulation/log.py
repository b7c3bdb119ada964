"""The brokers: partitions with transactions, their markers, fencing by transactional id, and committed offsets.

As Kafka has it: a transaction's records are in the log at once, hidden from `read_committed` until its marker is
there; readers stop at the first open transaction; a marker takes an offset of its own; starting a producer bumps the
epoch of its id, ends what the one before left open, and whatever carries an older epoch is refused.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from simulation.loop import VirtualLoop
from topics.specs import KAFKA_MESSAGE_BYTES

Headers = tuple[tuple[str, bytes | None], ...]

TRANSACTION_TIMEOUT = 10.0
MARKER_DELAY = 0.02


class Fate(Enum):
    OPEN = auto()
    COMMITTING = auto()
    ABORTING = auto()
    COMMITTED = auto()
    ABORTED = auto()


@dataclass(eq=False)
class Transaction:
    """`began` is when its first write came; offsets in it count once it is committed."""

    fate: Fate = Fate.OPEN
    written: "list[tuple[Log, int]]" = field(default_factory=list)
    offsets: dict[int, tuple[int, str]] = field(default_factory=dict)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def settled(self) -> bool:
        return self.fate in {Fate.COMMITTED, Fate.ABORTED}


@dataclass(frozen=True, slots=True)
class LogRecord:
    offset: int
    value: bytes | None
    key: bytes | None
    timestamp: int
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """`record` is None for a marker."""

    record: LogRecord | None
    transaction: Transaction | None


class Log:
    """One partition of one topic."""

    def __init__(self, topic: str, number: int) -> None:
        self.topic = topic
        self.number = number
        self.entries: list[Entry] = []
        self.first = 0
        """Offset of the oldest entry that is not deleted."""
        self.damaged: set[int] = set()
        """Offsets of entries that a consumer cannot read."""
        self._open: list[tuple[int, Transaction]] = []
        self.grown = asyncio.Event()

    def append(
        self, value: bytes | None, key: bytes | None, timestamp: int, transaction: Transaction | None, headers: Headers
    ) -> int:
        offset = len(self.entries)
        self.entries.append(Entry(LogRecord(offset, value, key, timestamp, headers), transaction))
        if transaction is not None:
            transaction.written.append((self, offset))
            self._open.append((offset, transaction))
        self.grow()
        return offset

    def lose_end(self, count: int) -> int:
        """The newest entries are gone, as after a power failure. The end that there was."""
        longest = len(self.entries)
        del self.entries[max(0, longest - count) :]
        self._open = [each for each in self._open if each[0] < len(self.entries)]
        return longest

    def trim(self, before: int) -> None:
        """Deletes the oldest entries, as retention does."""
        self.first = max(self.first, before)

    def end_before_damage(self, start: int) -> int:
        """How far a consumer gets from `start`: to the end that `read_committed` sees, or to a damaged entry."""
        return min([self.end, *(offset for offset in self.damaged if offset >= start)])

    def mark(self) -> None:
        self.entries.append(Entry(None, None))

    def grow(self) -> None:
        self.grown.set()
        self.grown = asyncio.Event()

    @property
    def end(self) -> int:
        """The end as `read_committed` sees it: before the first record of a transaction that is not settled."""
        self._open = [each for each in self._open if not each[1].settled]
        return min((offset for offset, _ in self._open), default=len(self.entries))

    def read(self, start: int, stop: int) -> Iterator[LogRecord]:
        """Committed records of a stretch that ends at or before `end`."""
        for entry in self.entries[max(start, self.first) : stop]:
            if entry.record is not None and (entry.transaction is None or entry.transaction.fate is Fate.COMMITTED):
                yield entry.record


class BrokerError(Exception):
    """What brokers answer in place of a result."""


class Fenced(BrokerError):
    pass


class MessageTooLarge(BrokerError):
    def __init__(self, topic: str, size: int) -> None:
        super().__init__(topic, size)
        self.topic, self.size = topic, size


@dataclass(eq=False)
class Producing:
    """What the brokers know of a transactional id."""

    epoch: int = -1
    transaction: Transaction | None = None


class Brokers:
    """The state of the cluster except the group's membership. `watch` is called with every committed transaction."""

    def __init__(self, loop: VirtualLoop, partitions: int, wall_ms: Callable[[], int]) -> None:
        self.loop = loop
        self.wall_ms = wall_ms
        self.tokens = [Log("tokens", number) for number in range(partitions)]
        self.responses = [Log("responses", number) for number in range(partitions)]
        self.dead_letters = [Log("dead-letters", number) for number in range(partitions)]
        self.controls = Log("controls", 0)
        self.committed: dict[int, tuple[int, str]] = {}
        self.archived: dict[int, tuple[int, str]] = {}
        """The archive's committed offsets of `responses`."""
        self.max_message_bytes = dict.fromkeys(("tokens", "responses", "dead-letters"), KAFKA_MESSAGE_BYTES)
        """By topic: of key and value, as records are neither batched nor compressed here."""
        self._outages = 0
        self._held_back: deque[Callable[[], None]] = deque()
        self.producers: dict[str, Producing] = {}
        self.watch: Callable[[Transaction], None] = lambda _: None

    # Outages of all brokers

    @property
    def gone(self) -> bool:
        """All brokers are away: no request reaches any, and nothing goes on inside."""
        return self._outages > 0

    def leave(self) -> None:
        self._outages += 1

    def come_back(self) -> None:
        """One outage ends. With the last of those that overlap the brokers are there, and what producers held back comes."""
        self._outages -= 1
        while self._held_back and not self.gone:
            self._held_back.popleft()()

    def once_there(self, effect: Callable[[], None]) -> None:
        """What a producer does: at once, or, while the brokers are away, when they are back, in the order it did it."""
        if self.gone:
            self._held_back.append(effect)
        else:
            effect()

    def log(self, topic: str, number: int | None) -> Log:
        logs = {"responses": self.responses, "dead-letters": self.dead_letters, "tokens": self.tokens}[topic]
        return logs[number or 0]

    # Transactions

    async def init_producer(self, transactional_id: str) -> int:
        producing = self.producers.setdefault(transactional_id, Producing())
        producing.epoch += 1
        epoch = producing.epoch
        if producing.transaction is not None:
            self._end(producing.transaction, commit=False)
            await producing.transaction.ended.wait()
        if producing.epoch != epoch:
            raise Fenced
        return epoch

    def _checked(self, transactional_id: str, epoch: int) -> Producing:
        producing = self.producers[transactional_id]
        if producing.epoch != epoch:
            raise Fenced
        return producing

    async def begin(self, transactional_id: str, epoch: int) -> None:
        """Wait for the markers of the one before, and open a transaction."""
        producing = self._checked(transactional_id, epoch)
        while producing.transaction is not None and not producing.transaction.settled:
            await producing.transaction.ended.wait()
        producing = self._checked(transactional_id, epoch)
        transaction = producing.transaction = Transaction()
        self.loop.outside(TRANSACTION_TIMEOUT, self._time_out, producing, transaction)

    def produce(
        self, transactional_id: str, epoch: int, records: Sequence[tuple[Log, bytes | None, bytes | None, Headers]]
    ) -> list[int]:
        transaction = self._open(transactional_id, epoch)
        for log, value, key, _ in records:
            if (size := len(key or b"") + len(value or b"")) > self.max_message_bytes[log.topic]:
                raise MessageTooLarge(log.topic, size)
        return [log.append(value, key, self.wall_ms(), transaction, headers) for log, value, key, headers in records]

    def add_offset(self, transactional_id: str, epoch: int, number: int, offset: int, metadata: str) -> None:
        self._open(transactional_id, epoch).offsets[number] = (offset, metadata)

    def commit(self, transactional_id: str, epoch: int) -> None:
        self._end(self._open(transactional_id, epoch), commit=True)

    def _open(self, transactional_id: str, epoch: int) -> Transaction:
        transaction = self._checked(transactional_id, epoch).transaction
        if transaction is None or transaction.fate is not Fate.OPEN:
            raise Fenced
        return transaction

    def _time_out(self, producing: Producing, transaction: Transaction) -> None:
        """An abandoned transaction is ended by the coordinator, which fences its producer for it."""
        if transaction.fate is Fate.OPEN:
            producing.epoch += 1
            self._end(transaction, commit=False)

    def _end(self, transaction: Transaction, *, commit: bool) -> None:
        if transaction.fate is Fate.OPEN:
            transaction.fate = Fate.COMMITTING if commit else Fate.ABORTING
            if commit:  # durable from here on, though nobody can read it before the markers are there
                self.watch(transaction)
            self.loop.outside(MARKER_DELAY, self._settle, transaction)

    def _settle(self, transaction: Transaction) -> None:
        if self.gone:
            self.loop.outside(0.5, self._settle, transaction)
            return
        committed = transaction.fate is Fate.COMMITTING
        transaction.fate = Fate.COMMITTED if committed else Fate.ABORTED
        for log in dict.fromkeys(log for log, _ in transaction.written):
            log.mark()
            log.grow()
        if committed:
            self.committed.update(transaction.offsets)
        transaction.ended.set()
