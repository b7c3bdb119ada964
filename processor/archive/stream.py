"""The Faust app that reads `responses`. The only user of Faust (0.15.3), whose defects are handled here:

* It acknowledges records that were never processed: `take()` does so in a `finally`, whatever the outcome of the
  batch, and a rebalance for each record that it skips. A commit built on these loses records. Therefore Faust's
  acknowledgements are ignored: only `confirm()` moves the offset to commit, and only in the generation of the group
  that the record was read in.
* It reads uncommitted records, and lacks some of aiokafka's settings: the consumer is created here.
* It crashes on a failed commit; here the next commit tries again.
* It creates unneeded directories, a leader topic and a producer: all are disabled.
* Its thread may never end: see `processor.archive.consumer_thread`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, cast

import aiokafka
import faust
import structlog
from aiokafka.client import AIOKafkaClient
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError
from faust.app.base import BootStrategy
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from processor.archive.batch import Arrival
from processor.archive.consumer_thread import EndingThread
from processor.errors import TokenstreamError, TopicsUnfit
from processor.kafka.connection import KafkaConnection
from processor.kafka.record_batches import SafeConsumer, Trouble, Unreadable, report_trouble, report_unreadable
from processor.ports.store import Position
from topics.client_tasks import reads

COMMIT_SECONDS = 1.0
LOOK_SECONDS = 5.0
FETCH_BYTES = 1024 * 1024
"""Of one partition at a time; a larger single record still comes."""
POLLED_RECORDS = 256
QUEUED_RECORDS = 16
"""Between Faust's fetcher and us; each may be as large as a response."""

log = structlog.stdlib.get_logger("tokenstream.archive")

Receive = Callable[[Arrival], Awaitable[None]]


class ResponseConsumer(driver.Consumer):
    """Faust's consumer, committing only what was confirmed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.confirmed: dict[TP, int] = {}
        self.fetched: dict[TP, int] = {}
        self.rebalanced: Callable[[set[int]], None] = lambda _partitions: None

    def _new_consumer_thread(self) -> "ConsumerThread":
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def confirm(self, tp: TP, offset: int, generation: int) -> None:
        """Everything up to `offset` is stored. Ignored when a rebalance came in between: it is read again, by whoever owns it."""
        if generation == self.app.consumer_generation_id and tp in self.assignment():
            self.confirmed[tp] = max(offset + 1, self.confirmed.get(tp, 0))

    def ack(self, message: Any) -> bool:
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing is built on gaps."""

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's signature
        records = await super()._getmany(active_partitions, timeout)
        for tp, some in (records or {}).items():
            if some:
                self.fetched[TP(tp.topic, tp.partition)] = some[-1].offset
        return records

    async def force_commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002
        assigned = self.assignment()
        due = {
            tp: offset
            for tp, offset in self.confirmed.items()
            if tp in assigned and offset > (self._committed_offset[tp] or 0)
        }
        if not due or not await self._commit(due):
            return False
        self._committed_offset.update(due)
        return True

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await self.commit()
        self.confirmed.clear()
        self.fetched.clear()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.confirmed.clear()
        self.fetched.clear()
        await super().on_partitions_assigned(assigned, generation_id)
        self.rebalanced({tp.partition for tp in assigned})


def _passed_over(partition: aiokafka.TopicPartition, unreadable: Unreadable) -> None:
    """What the relay did not write; no response can be read from it."""
    report_unreadable(log.error, "response_records_unreadable", partition, unreadable)


def _log_trouble(trouble: Trouble) -> None:
    advice = "Restore the broker's log of this partition. Its responses are not stored until then."
    report_trouble(log.error, trouble, advice)


class ConsumerThread(EndingThread):
    def _start_thread(self) -> None:
        """`start()` has raised the error that ends the thread, or the app has crashed with it. Raised here it would
        only be printed.
        """
        try:
            super()._start_thread()
        except Exception as error:  # noqa: BLE001
            log.debug("archive_consumer_thread_ended", error=describe(error))

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:  # noqa: ARG002
        conf = self.app.conf
        self._assignor = RoundRobinPartitionAssignor
        consumer = SafeConsumer(
            **cast("ResponseApp", self.app).connection.arguments(),
            group_id=conf.id,
            partition_assignment_strategy=(RoundRobinPartitionAssignor,),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=FETCH_BYTES,
            max_poll_records=POLLED_RECORDS,
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_session_timeout * 300),
            rebalance_timeout_ms=30_000,
            # Storage may be down for days; this process is alive all the same.
            max_poll_interval_ms=2**31 - 1,
        )
        limit = cast("ResponseApp", self.app).max_batch_bytes
        consumer.safely = {"limit": limit, "refuse": _passed_over, "noted": _log_trouble}
        return consumer

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """False where it did not go through; it is tried again with the next, or the records come again."""
        try:
            async with asyncio.timeout(10):
                await self._ensure_consumer().commit(
                    {aiokafka.TopicPartition(tp.topic, tp.partition): offset for tp, offset in offsets.items()}
                )
        except (KafkaError, TimeoutError):
            return False
        return True


class ResponseTransport(driver.Transport):
    Consumer = ResponseConsumer


class ConsumerOnly(BootStrategy):
    enable_kafka_producer = False
    enable_web = False


class ResponseApp(faust.App):
    BootStrategy = ConsumerOnly
    connection: KafkaConnection
    max_batch_bytes: int

    def _create_directories(self) -> None:
        """There are no tables to keep on disk."""


class ResponseStream:
    """One run of the Faust app: build, start, and on any failure stop and build another."""

    def __init__(
        self,
        connection: KafkaConnection,
        *,
        group_id: str,
        topic: str,
        session_timeout: float,
        max_batch_bytes: int,
        receive: Receive,
        rebalanced: Callable[[set[int]], None],
    ) -> None:
        self._topic = topic
        self._app = _build(connection, group_id, topic, session_timeout, receive)
        self._app.max_batch_bytes = max_batch_bytes
        self._rebalanced = rebalanced

    @property
    def _consumer(self) -> ResponseConsumer | None:
        consumer = self._app._consumer  # noqa: SLF001 - `app.consumer` would make one
        return consumer if isinstance(consumer, ResponseConsumer) else None

    async def start(self) -> None:
        """Returns when the app runs; partitions come later. Raises what aiokafka raises where no broker answers."""
        await _look_for_topic(self._app.connection, self._topic)
        consumer = cast("ResponseConsumer", self._app.consumer)
        consumer.rebalanced = self._rebalanced
        await self._app.maybe_start()

    async def wait_until_failed(self) -> BaseException:
        """Why the app ended, or reads nothing any more. Cancel it to stop waiting."""
        while self._reads:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._app._crashed.wait()  # noqa: SLF001 - `wait_until_stopped` waits for children as well
                return self._app.crash_reason or RuntimeError("the consumer ended")
        return RuntimeError("the client has stopped reading")

    async def stop(self) -> None:
        """Commits what was confirmed, and leaves the group."""
        await self._app.stop()

    @property
    def assigned(self) -> frozenset[int]:
        consumer = self._consumer
        if consumer is None or not self._app.started or self._app.rebalancing:
            return frozenset()
        try:
            return frozenset(tp.partition for tp in consumer.assignment() if tp.topic == self._topic)
        except faust.exceptions.ConsumerNotStarted:
            return frozenset()

    @property
    def cut_off(self) -> bool:
        """Returns True if the group's coordinator does not answer. aiokafka retries without reporting it."""
        consumer = self._consumer
        kafka: Any = consumer._thread._consumer if consumer is not None else None  # noqa: SLF001 - no public API
        return kafka is None or kafka._coordinator is None or kafka._coordinator.coordinator_id is None  # noqa: SLF001

    @property
    def _reads(self) -> bool:
        """False where a task that reads has ended, also by a cancellation, after which Faust goes on as before."""
        consumer = self._consumer
        if consumer is None:
            return True
        if not reads(consumer._thread._consumer):  # noqa: SLF001 - no public API
            return False
        fetcher: Any = self._app._fetcher  # noqa: SLF001
        return not fetcher._shutdown.is_set()  # noqa: SLF001

    def confirm(self, partition: int, offset: int, generation: int) -> None:
        if self._consumer is not None:
            self._consumer.confirm(TP(self._topic, partition), offset, generation)

    def lag(self) -> dict[int, int]:
        """Records of each owned partition that are not stored. What transactions leave at the log's end does not count."""
        consumer = self._consumer
        if consumer is None:
            return {}
        return {partition: _lag(consumer, TP(self._topic, partition)) for partition in self.assigned}


async def _look_for_topic(connection: KafkaConnection, topic: str) -> None:
    """Checks broker and topic first: Faust logs long tracebacks if no broker answers, and would wait silently for a
    topic.
    """
    client = AIOKafkaClient(**connection.arguments())
    try:
        async with asyncio.timeout(30):
            await client.bootstrap()
            found = (await client.fetch_all_metadata()).partitions_for_topic(topic)
    finally:
        await client.close()
    if not found:
        raise TopicsUnfit(f"the topic {topic} does not exist; create it with `tokenstream topics apply`")


def _lag(consumer: ResponseConsumer, tp: TP) -> int:
    kafka: Any = consumer._thread._consumer  # noqa: SLF001 - Faust asks no further than the highwater
    assignment = kafka._subscription.subscription.assignment  # noqa: SLF001
    state = assignment.state_value(aiokafka.TopicPartition(tp.topic, tp.partition)) if assignment else None
    if state is None or state.highwater is None or not state.has_valid_position:
        return 0
    fetched, stored = consumer.fetched.get(tp), consumer.confirmed.get(tp)
    if fetched is None or (stored is not None and stored > fetched):
        return max(0, int(state.highwater) - int(state.position))
    begin = stored if stored is not None else consumer._committed_offset[tp] or 0  # noqa: SLF001
    return max(0, int(state.highwater) - begin)


def _build(
    connection: KafkaConnection, group_id: str, topic: str, session_timeout: float, receive: Receive
) -> ResponseApp:
    app = ResponseApp(
        group_id,
        # Only its scheme matters: the consumer is made from the connection.
        broker="kafka://from-connection",
        store="memory://",
        cache="memory://",
        autodiscover=False,
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        stream_buffer_maxsize=QUEUED_RECORDS,
        stream_wait_empty=False,
        broker_commit_interval=COMMIT_SECONDS,
        broker_session_timeout=session_timeout,
        broker_request_timeout=max(session_timeout, 40.0),
        # A batch may wait for storage for days; our own status reports that.
        stream_processing_timeout=10**9,
        broker_commit_livelock_soft_timeout=10**9,
    )
    app.connection = connection
    app.transport = ResponseTransport(app.conf.broker_consumer, app)
    channel = app.topic(topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    async def receive_all(stream: Any) -> None:
        async for event in stream.noack().events():
            message = event.message
            await receive(_arrival(message))

    app.agent(channel, name="archive")(receive_all)
    return app


def _arrival(message: Any) -> Arrival:
    return Arrival(
        message.topic, Position(message.partition, message.offset), message.key, message.value, message.generation_id
    )


def describe(error: BaseException) -> str:
    """One line about what Kafka, or Faust, made of it."""
    if isinstance(error, TokenstreamError):
        return str(error)
    text = str(error).splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__
