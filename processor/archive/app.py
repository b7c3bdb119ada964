"""The archive role: stores every record of `responses` durably, and only then counts it as read.

It has two loops. One keeps a Faust app running through every failure of Kafka.
The other collects batches, stores them, sets aside records that cannot be stored, and confirms.
No failure ends the second loop: it retries without end while the store is unavailable, and Kafka is the buffer.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from processor.archive.batch import Arrival, RefusedArrival, newest_offsets, sort_out
from processor.archive.intake import ArrivalQueue, BatchLimits
from processor.archive.stream import Receive, ResponseStream, describe
from processor.clock import Clock
from processor.core.backoff import Backoff
from processor.errors import CredentialsChanged, Fatal, KafkaUnavailable, StoreRefused, StoreUnavailable
from processor.kafka.connection import ConnectionSource
from processor.kafka.dead_letter_writer import DeadLetterWriter, SourcedLetter
from processor.kafka.record_batches import DEFAULT_MAX_BATCH_BYTES
from processor.ports.store import Entry, EntryStore
from processor.telemetry.metrics import Metrics
from processor.telemetry.retry import Retry
from topics.client_tasks import look_at
from topics.delivery import uncancelled
from topics.records import Reason

LAG_SECONDS = 1.0
START_SECONDS = 120.0
STOP_SECONDS = 15.0
ATTEMPT_SECONDS = 60.0
CREDENTIALS_SECONDS = 2.0
BACKOFF = Backoff(first=0.2, cap=15.0)

log = structlog.stdlib.get_logger("tokenstream.archive")


@dataclass(frozen=True, slots=True)
class ArchiveStatus:
    """For `/readyz`. `reason` is a sentence; `lag` counts records not yet stored, None while no partition is owned."""

    ok: bool
    reason: str
    lag: int | None = None


class ArchiveStream(Protocol):
    """A member of the archive's group that reads `responses`. See `processor.archive.stream.ResponseStream`."""

    @property
    def cut_off(self) -> bool: ...
    @property
    def assigned(self) -> Collection[object]: ...
    async def start(self) -> None: ...
    async def wait_until_failed(self) -> BaseException: ...
    async def stop(self) -> None: ...
    def confirm(self, partition: int, offset: int, generation: int) -> None: ...
    def lag(self) -> Mapping[int, int]: ...


class Letters(Protocol):
    """See `processor.kafka.dead_letter_writer.DeadLetterWriter`."""

    async def write(self, letters: Sequence[SourcedLetter]) -> None: ...
    async def close(self) -> None: ...


NewStream = Callable[[Receive], ArchiveStream]
"""Where arrivals go -> a stream that is not started."""


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """`group_id` is the archive's own: `<KAFKA_GROUP_ID>-archive`."""

    group_id: str
    responses_topic: str
    dead_letters_topic: str
    session_timeout: float = 10.0
    max_batch_bytes: int = DEFAULT_MAX_BATCH_BYTES
    limits: BatchLimits = BatchLimits()  # noqa: RUF009 - frozen


class Archive:
    """Call `run()` in a task group, or `start()` and `stop()`. `source` is called for each connection.

    `credentials` returns another value when the secrets change; then the archive reconnects to Kafka.
    """

    def __init__(
        self,
        settings: ArchiveSettings,
        *,
        source: ConnectionSource,
        store: EntryStore,
        metrics: Metrics,
        clock: Clock | None = None,
        backoff: Backoff = BACKOFF,
        credentials: Callable[[], object] = lambda: None,
        new_stream: NewStream | None = None,
        letters: Letters | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`new_stream` and `letters` are Kafka's unless others are given."""
        self._settings = settings
        self._credentials = credentials
        self._source = source
        self._store = store
        self._metrics = metrics
        self._clock = clock or Clock()
        self._backoff = backoff
        self._intake = ArrivalQueue(settings.limits)
        self._letters = letters or DeadLetterWriter(source, topic=settings.dead_letters_topic, clock=self._clock)
        self._new_stream = new_stream or self._faust_stream
        self._chance = chance
        self._stream: ArchiveStream | None = None
        self._kafka_trouble: str | None = "not connected yet"
        self._store_trouble: str | None = "not opened yet"
        self._lagging: set[int] = set()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"Archive({self.status().reason}, {self._intake!r})"

    async def start(self) -> None:
        """Returns at once; Kafka and the store may come later. A fatal error is raised by `stop()` and `wait()`."""
        self._task = asyncio.create_task(self.run(), name="archive")

    async def wait(self) -> None:
        if self._task is not None:
            await self._task

    async def stop(self) -> None:
        """Commit what is stored, leave the group. A batch in the middle is read again by the next owner."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                pass

    async def run(self) -> None:
        """Until cancelled. Raises SchemaOutdated, or another Fatal of the store's start."""
        try:
            await self._open_store()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_reading())
                group.create_task(self._keep_storing())
                group.create_task(self._keep_measuring())
        except* Fatal as fatal:
            raise fatal.exceptions[0] from None
        finally:
            await self._letters.close()

    def status(self) -> ArchiveStatus:
        lag = sum(self._stream.lag().values()) if self._stream is not None and self._stream.assigned else None
        behind = "" if not lag else f"; {lag} records wait in Kafka"
        if self._store_trouble is not None:
            return ArchiveStatus(ok=False, reason=f"{self._store_trouble}{behind}", lag=lag)
        if self._kafka_trouble is not None:
            return ArchiveStatus(ok=False, reason=self._kafka_trouble, lag=lag)
        if self._stream is not None and self._stream.cut_off:
            return ArchiveStatus(
                ok=False, reason="Kafka can't be read: the group's coordinator does not answer", lag=lag
            )
        if self._stream is None or not self._stream.assigned:
            # A member without partitions is healthy: there may be more archives than partitions.
            return ArchiveStatus(ok=True, reason="no partition is assigned to this process", lag=None)
        return ArchiveStatus(ok=True, reason=f"{len(self._stream.assigned)} partitions{behind}", lag=lag)

    def _retry(self, operation: str) -> Retry:
        return Retry(self._backoff, random.random, self._metrics.retries.labels(operation).inc)

    async def _open_store(self) -> None:
        await self._retry("open_store").until_done(self._store.start, StoreUnavailable, self._store_failed)
        self._store_trouble = None

    # Reading

    async def _keep_reading(self) -> None:
        retry = self._retry("archive_read")
        while True:
            began = self._clock.monotonic()
            error = await self._read_until_failed()
            self._kafka_trouble = f"Kafka can't be read: {describe(error)}"
            log.warning("archive_reading_failed", error=describe(error), attempt=retry.attempt)
            if self._clock.monotonic() - began > self._backoff.cap:
                retry.succeeded()
            await retry.pause()

    async def _read_until_failed(self) -> BaseException:
        self._intake.clear()
        credentials = self._credentials()
        try:
            stream = self._new_stream(self._intake.put)
        except Exception as error:  # noqa: BLE001 - options may name a file that is gone for now
            return error
        try:
            await _start(stream)
            self._stream, self._kafka_trouble = stream, None
            return await self._until_failed(stream, credentials)
        except Exception as error:  # noqa: BLE001 - whatever Faust raises, the answer is a new app
            return error
        finally:
            self._stream = None
            await uncancelled(_stop(stream))  # a member that does not leave holds its partitions for a session timeout

    async def _until_failed(self, stream: ArchiveStream, credentials: object) -> BaseException:
        failing = asyncio.ensure_future(stream.wait_until_failed())
        try:
            while not failing.done():
                await asyncio.wait({failing}, timeout=CREDENTIALS_SECONDS)
                if self._credentials() != credentials:
                    return CredentialsChanged("its credentials changed: it is connected to anew")
            return failure_of(failing) or failing.result()
        finally:
            failing.cancel()

    def _faust_stream(self, receive: Receive) -> ArchiveStream:
        return ResponseStream(
            self._source(),
            group_id=self._settings.group_id,
            topic=self._settings.responses_topic,
            session_timeout=self._settings.session_timeout,
            max_batch_bytes=self._settings.max_batch_bytes,
            receive=receive,
            rebalanced=self._rebalanced,
        )

    def _rebalanced(self, partitions: set[int]) -> None:
        self._metrics.rebalances.inc()
        log.info("archive_rebalanced", partitions=sorted(partitions))

    # Storing

    async def _keep_storing(self) -> None:
        while True:
            batch = await self._intake.next_batch()
            stream = self._stream
            await self._store_batch(batch)
            if stream is not None and stream is self._stream:
                for (partition, generation), offset in newest_offsets(batch).items():
                    stream.confirm(partition, offset, generation)

    async def _store_batch(self, batch: Sequence[Arrival]) -> None:
        """Returns when each record is durable: in the store, outdone there, or in the dead letters."""
        todo = sort_out(batch)
        refused = [*todo.refused]
        began = self._clock.monotonic()
        for entry, error in await self._upsert(todo.entries):
            refused.append(RefusedArrival(todo.arrivals[entry.position], Reason.STORE_REFUSED, str(error)))
        self._metrics.archive_seconds.observe(self._clock.monotonic() - began)
        aside = {one.arrival.position for one in refused}
        for entry in todo.entries:
            if entry.record is not None and entry.position not in aside:
                self._metrics.archived.labels(entry.record.status).inc()
        if refused:
            await self._put_aside(refused)

    async def _upsert(self, entries: Sequence[Entry]) -> list[tuple[Entry, StoreRefused]]:
        """Stores without end; what the store refuses for itself is found by halving, and returned."""
        if not entries:
            return []
        # Any exception: a record lost for a bug in a driver would be lost permanently.
        refused = await self._retry("store").until_done(lambda: self._attempt(entries), Exception, self._store_failed)
        self._store_trouble = None
        if refused is None:
            return []
        if len(entries) == 1:
            return [(entries[0], refused)]
        half = len(entries) // 2
        return [*await self._upsert(entries[:half]), *await self._upsert(entries[half:])]

    async def _attempt(self, entries: Sequence[Entry]) -> StoreRefused | None:
        """Returns why the store refuses one of them; None where all are stored."""
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                await self._store.upsert_batch(entries)
        except StoreRefused as error:
            return error
        return None

    def _store_failed(self, error: Exception, attempt: int) -> None:
        self._metrics.archive_failures.inc()
        cause = str(error) if isinstance(error, StoreUnavailable) else f"the store failed: {describe(error)}"
        self._store_trouble = cause
        log.warning("archive_store_failed", error=cause, attempt=attempt)

    async def _put_aside(self, refused: Sequence[RefusedArrival]) -> None:
        def failed(error: KafkaUnavailable, attempt: int) -> None:
            log.warning("archive_dead_letters_failed", error=str(error), attempt=attempt)

        retry = self._retry("archive_dead_letters")
        await retry.until_done(
            lambda: self._letters.write([each.letter() for each in refused]), KafkaUnavailable, failed
        )
        for one in refused:
            self._metrics.dead_letters.labels(one.reason).inc()
            at = one.arrival.position
            log.warning(
                "archive_record_refused", reason=one.reason, partition=at.partition, offset=at.offset, detail=one.detail
            )

    # Measuring

    async def _keep_measuring(self) -> None:
        while True:
            lag = self._stream.lag() if self._stream is not None else {}
            gauge, topic = self._metrics.consumer_lag_records, self._settings.responses_topic
            for partition in self._lagging - lag.keys():
                gauge.remove(topic, str(partition))
            for partition, records in lag.items():
                gauge.labels(topic, str(partition)).set(records)
            self._lagging = set(lag)
            await asyncio.sleep(LAG_SECONDS)


def failure_of(task: asyncio.Task[Any]) -> BaseException | None:
    """Returns why a task that has ended failed. Nobody but Faust cancels it: raised here, that would end the reading
    without an error.
    """
    return RuntimeError("Faust cancelled its own work") if task.cancelled() else task.exception()


async def _start(stream: ArchiveStream) -> None:
    """Starts it in a task of its own: Faust may go on as if nothing were where it is cancelled. Takes START_SECONDS at
    most.
    """
    starting = asyncio.create_task(stream.start())
    starting.add_done_callback(look_at)
    try:
        await asyncio.wait({starting}, timeout=START_SECONDS)
        if not starting.done():
            raise TimeoutError(f"the consumer did not start within {START_SECONDS:g} s")
        if (error := failure_of(starting)) is not None:
            raise error
    finally:
        starting.cancel()
        await asyncio.wait({starting}, timeout=STOP_SECONDS)  # it is stopped once it does no more


async def _stop(stream: ArchiveStream) -> None:
    """Returns after STOP_SECONDS at the latest. In a task of its own, as `_start`."""
    stopping = asyncio.create_task(stream.stop())
    stopping.add_done_callback(look_at)
    done, _ = await asyncio.wait({stopping}, timeout=STOP_SECONDS)
    if not done:
        stopping.cancel()
        log.warning("archive_stop_timed_out")
    elif (error := failure_of(stopping)) is not None:  # it is being thrown away
        log.warning("archive_stop_failed", error=describe(error))
