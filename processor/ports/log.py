"""What a worker and its relay need of Kafka. `tests/contract/test_kafka_ports.py` tests every implementation against
it.

`processor.kafka` implements it with aiokafka; the simulation has its own. Partitions are numbers, of one topic.
Every method belongs to one event loop. Methods that ask a broker raise KafkaUnavailable within seconds if no answer
arrives; no method raises an error of a library.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from processor.core.response import Raw


class Record(NamedTuple):
    """A record to be written. `partition` None: the key decides. `value` None: a tombstone."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


Committed = tuple[int, str]
"""(the group's committed offset, the metadata beside it)"""
Take = Callable[[int, bytes, bytes | None], None]
"""Called with (offset, key, value) of a record; the key is empty where the record has none, the value None for a tombstone."""


class RebalanceListener(Protocol):
    """Who owns partitions: the relay. The consumer calls it, one call at a time, and never raises on its behalf."""

    async def on_partitions_assigned(self, numbers: Sequence[int]) -> None:
        """Assigns exactly these partitions to this member, in rising order; none if empty.

        No heartbeat is sent before it returns, so it must return at once: taking a partition over is a task of its own.
        The partitions must be paused by then, or records are fetched from wherever the group's committed offset is.
        """
        ...

    async def on_partitions_revoked(self, numbers: Sequence[int]) -> None:
        """The member is about to lose all its partitions. They stay its own until it returns, while its heartbeats
        are answered.

        Heartbeats go on meanwhile. The group waits for the rebalance timeout, and gives the partitions away after that.
        """
        ...


class Membership(Protocol):
    """The member's place in its group, by heartbeats that the group answered."""

    def holds(self) -> bool:
        """Whether nobody else can own this member's partitions now: the lease. Asked before every send. Never raises."""
        ...

    async def heartbeat_after(self, moment: float) -> None:
        """Returns once a heartbeat was answered that was sent after `moment` (monotonic seconds). Waits without bound."""
        ...

    def rejoin(self) -> None:
        """Asks the group for a new assignment soon: revoked and assigned are called again. Does nothing before the start."""
        ...

    @property
    def ended(self) -> bool:
        """Whether this client takes no part in the group any more, although it runs: only a new client helps."""
        ...

    def silence(self) -> float:
        """Seconds since the newest answered heartbeat was sent, or since the client started."""
        ...


class TokensConsumer(Protocol):
    """A member of the group that reads one topic. Commits nothing: a commit is part of a transaction of `PartitionWriter`."""

    @property
    def topic(self) -> str: ...

    @property
    def membership(self) -> Membership:
        """The same object for the life of the consumer."""
        ...

    @property
    def patience(self) -> float:
        """Seconds of the group's silence after which a client may be replaced: longer than joining a group may take."""
        ...

    @property
    def assigned(self) -> frozenset[int]:
        """Partitions assigned now."""
        ...

    async def start(self, listener: RebalanceListener) -> None:
        """Connects and joins the group; `listener` hears of assignments from now on. Called once, and again after it
        raised or after `renew`. Raises KafkaUnavailable.
        """
        ...

    async def renew(self) -> None:
        """Discards the client: `start` makes another. The listener must have given its partitions back. Never raises."""
        ...

    async def reachable(self) -> bool:
        """Whether Kafka answers a new connection now. Never raises; answers within seconds."""
        ...

    async def stop(self) -> None:
        """Leaves the group and disconnects. Called once, last. Never raises; takes seconds at most.

        A `start` that has not returned yet raises KafkaUnavailable, and joins nothing.
        """
        ...

    async def fetch(self, max_records: int, wait: float) -> Mapping[int, Sequence[Raw]]:
        """Returns up to `max_records` records of assigned, unpaused partitions, by partition, in offset order. Waits
        about `wait` seconds for the first ones. Each record is returned once, from the position of the partition's
        last seek.

        Called repeatedly by one task. The isolation level determines whether records of open and aborted transactions
        are left out.
        Raises KafkaUnavailable, after which positions may be ahead of what was returned: seek.
        Raises RecordsGone if the next records of a partition were deleted before they were read.
        """
        ...

    @property
    def troubles(self) -> Mapping[int, str]:
        """The assigned partitions that cannot be read further, each with a sentence that gives the reason and what to
        do.
        """
        ...

    def reached(self, number: int) -> int | None:
        """Returns the offset that is fetched next: beyond what was fetched, transaction markers and aborted records
        too.

        None while the partition is not assigned, or does not know where to begin.
        """
        ...

    async def end_offset(self, number: int) -> int:
        """Returns the log's end, asked of the broker now: one more than the offset of its newest record or marker,
        open transactions included. Raises KafkaUnavailable.
        """
        ...

    async def first_offset(self, number: int) -> int:
        """Returns the offset of the oldest record that is left, or the end of an empty log. Raises KafkaUnavailable."""
        ...

    def seek(self, number: int, offset: int) -> None:
        """Makes the next fetch begin at `offset`. Called of assigned partitions only."""
        ...

    def pause(self, *numbers: int) -> None:
        """Leaves these out of fetches until `resume`. Partitions that are not assigned are ignored; an assignment ends a pause."""
        ...

    def resume(self, *numbers: int) -> None: ...

    def high_water(self, number: int) -> int | None:
        """Returns the log's end as of the newest fetch, for the metrics; None before the first."""
        ...


class OffsetsReader(Protocol):
    """The group's committed offsets, of one topic."""

    async def read(self, number: int) -> Committed | None:
        """Returns what was committed last, by any member; None if nothing was ever committed.

        Any number of tasks may call it at once. Raises KafkaUnavailable for any answer without that information.
        """
        ...

    async def close(self) -> None:
        """Disconnects; `read` connects again. Never raises."""
        ...


class RecordsReader(Protocol):
    """Reads stretches of the `responses` topic: records of committed transactions."""

    async def read(self, number: int, start: int, take: Take, *, only: bool = False) -> int:
        """Calls `take` with every record from `start` to the partition's end, in order. Returns the end: the offset
        after the newest committed record, or after a marker behind it.

        With `only`, stops after the first record at or after `start`. What `start` has no record for any more begins
        with the oldest that is left. Called by any number of tasks at once, which wait for each other. Takes as long
        as records come. Raises KafkaUnavailable; some records may have been taken by then.
        """
        ...

    async def close(self) -> None:
        """Disconnects; `read` connects again. Never raises."""
        ...


class PartitionWriter(Protocol):
    """The one producer of a partition's durable state. Called by one task."""

    @property
    def started(self) -> bool:
        """Whether `write` can be called: false before `start`, and after a `write` that raised."""
        ...

    async def start(self) -> None:
        """Fences every writer that was started for the partition before, and ends what it left open.

        Once it returned, no earlier writer commits anything. Raises KafkaUnavailable, and may then be called again.
        """
        ...

    async def write(self, records: Sequence[Record], commit: Callable[[Sequence[int]], Committed]) -> Committed:
        """Writes the records and the group's offset in one transaction: all or nothing. Returns the result of `commit`.

        `commit` is called once with the offsets of the records, in their order, and returns what to commit. If it
        raises, nothing is written and the exception propagates. Readers see the records soon after this returns, at
        the latest when the next writer has started.
        Raises PartitionLost if a later writer was started.
        Raises KafkaUnavailable if it is unknown whether the transaction committed: call `start`, and write the same
        again.
        Raises RecordTooLarge if the same can never be written. Takes a minute at most.
        """
        ...

    async def stop(self) -> None:
        """Disconnects; an open transaction is aborted, at the latest by the next `start`. May be called again. Never raises."""
        ...


WriterFactory = Callable[[int], PartitionWriter]
"""partition -> a writer that is not started"""
