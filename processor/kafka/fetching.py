"""Fetches for a consumer of the group in place of aiokafka's fetcher, with one request and one task per broker.

aiokafka (0.14) iterates three times over all partitions for each answer, wakes four tasks, and makes timers and futures
for each. With a record or two in an answer, that was a third to a half of the relay's cost.
It uses these internals of the library: the subscription's assignment and its states, the client's `send` (see
`record_batches.fetches`), the coordinator's errors, and the fetcher's routine, which it ends.
`tests/integration/relay/test_kafka_internals.py` fails when they change.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, TopicAuthorizationFailedError, for_code
from aiokafka.protocol.fetch import FetchRequest

from processor.core.backoff import Backoff
from processor.kafka.not_fetched import NotFetched
from processor.kafka.record_batches import Fetched, Fetches
from processor.telemetry.retry import Retry

MAX_WAIT_MS: Final = 250
REST_WAIT_MS: Final = 1_000
"""For a broker whose last answer was empty, while no partition is paused: an answer can only bring new records then."""
MAX_BYTES: Final = 50 * 1024 * 1024
MAX_PARTITION_BYTES: Final = 2 * 1024 * 1024
RETRY: Final = Backoff(first=0.1, cap=0.5)
"""For a broker that can't be reached, or that refused the request. One that refused a partition, and serves others, is
asked again after the first of these delays.
"""
LOOK_AGAIN: Final = 0.1
"""Seconds between two looks for other leaders."""
NOTHING_TO_ASK: Final = 0.05
"""Seconds after which the caller gets its turn while no partition can be read: one may be taken over by then."""
UNANSWERED: Final = 3.0
"""Seconds without an answer after which another leader is looked for: a broker that is frozen closes no connection."""

Drained = dict[TopicPartition, Sequence[Any]]


def _by_topic(offsets: Mapping[TopicPartition, int], turn: int) -> list[tuple[str, list[tuple[int, int, int]]]]:
    """What a request asks for, beginning with another partition at each turn."""
    wanted, topics = list(offsets.items()), dict[str, list[tuple[int, int, int]]]()
    first = turn % len(wanted)
    for partition, offset in (*wanted[first:], *wanted[:first]):
        topics.setdefault(partition.topic, []).append((partition.partition, offset, MAX_PARTITION_BYTES))
    return list(topics.items())


@dataclass(frozen=True, slots=True)
class _Asked:
    answer: asyncio.Task[None]
    at: float
    partitions: Collection[TopicPartition]


class Fetching:
    """What was fetched and not taken, and the requests under way. For one consumer that has started; used by one task."""

    def __init__(
        self, consumer: AIOKafkaConsumer, fetches: Fetches, *, chance: Callable[[], float], retried: Callable[[], None]
    ) -> None:
        """`chance` returns numbers in [0, 1); `retried` is called for each request that repeats one that failed."""
        self._client = consumer._client  # noqa: SLF001 - see above
        self._coordinator = consumer._coordinator  # noqa: SLF001
        self._subscriptions = consumer._subscription  # noqa: SLF001
        self._isolation_level = consumer._fetcher._isolation_level  # noqa: SLF001
        consumer._fetcher._fetch_task.cancel()  # noqa: SLF001
        self._fetches = fetches
        self._new_retry = partial(Retry, RETRY, chance, retried)
        self._retries: dict[int, Retry] = {}
        """Of the brokers whose last request failed."""
        self._assignment: Any = None
        self._ready: dict[TopicPartition, Fetched] = {}
        self._turns: dict[int, int] = {}
        """Requests of each broker: by turns, each partition is the first, which without a session may fill the answer."""
        self._asking: dict[int, _Asked] = {}
        self._at_rest: set[int] = set()
        """The brokers whose last answer was empty."""
        self._refused: KafkaError | None = None
        self._out_of_range: dict[TopicPartition, int] = {}
        """Positions that have no records any more."""
        self._not_fetched = NotFetched()
        self._looked_at = float("-inf")
        self._closed = False

    async def fetch(self, max_records: int, wait: float) -> Drained:
        """As `processor.ports.log.TokensConsumer.fetch`. Raises what the library raises."""
        self._coordinator.check_errors()
        with self._subscriptions.fetch_context():
            if not await self._follow_assignment():
                await asyncio.sleep(min(wait, NOTHING_TO_ASK))
                return {}
            if not self._ready:
                self._ask()
                await self._answers(wait)
                if not self._assignment.active:
                    return {}
            self._collect()
            drained = self._drain(max_records)
            if not self._ready:
                self._ask()  # the broker works while the caller does
            return drained

    async def close(self) -> None:
        self._closed = True
        await self._forget()

    @property
    def not_fetched(self) -> Mapping[TopicPartition, str]:
        """The partitions that no broker has answered for during the last seconds, each with the newest cause."""
        return self._not_fetched.lasting(asyncio.get_running_loop().time())

    # The assignment

    async def _follow_assignment(self) -> bool:
        """Whether partitions are assigned now. What was fetched for another assignment is dropped."""
        subscription = self._subscriptions.subscription
        assignment = None if subscription is None else subscription.assignment
        if assignment is not None and (self._subscriptions.reassignment_in_progress or not assignment.active):
            assignment = None
        if assignment is not self._assignment:
            await self._forget()
            self._assignment = assignment
        return assignment is not None

    async def _forget(self) -> None:
        self._ready.clear()
        self._at_rest.clear()
        self._not_fetched.clear()
        self._refused = None
        self._out_of_range.clear()
        asking, self._asking = [asked.answer for asked in self._asking.values()], {}
        for task in asking:
            task.cancel()
        if asking:
            await asyncio.wait(asking)
        self._fetches.drop_answers()

    # Asking

    def _ask(self) -> None:
        """Asks every broker that is not being asked for its partitions that can be read."""
        if self._closed:
            return
        wanted: dict[int, dict[TopicPartition, int]] = {}
        leaders, leaderless, whole = self._client.cluster, [], True
        for partition in self._assignment.tps:
            state = self._assignment.state_value(partition)
            if state.paused or not state.has_valid_position:
                whole = False
                continue
            node = leaders.leader_for_partition(partition)
            if node is None or node == -1:
                leaderless.append(partition)
            elif node not in self._asking:
                wanted.setdefault(node, {})[partition] = state.position
        if leaderless:
            self._failed(leaderless, "it has no leader")
        for node, offsets in wanted.items():
            patience = REST_WAIT_MS if whole and node in self._at_rest else MAX_WAIT_MS
            turn = self._turns[node] = self._turns.get(node, 0) + 1
            request = FetchRequest(patience, 1, MAX_BYTES, self._isolation_level, _by_topic(offsets, turn))
            answer = asyncio.ensure_future(self._ask_node(self._assignment, node, request, offsets))
            self._asking[node] = _Asked(answer, asyncio.get_running_loop().time(), offsets.keys())

    async def _ask_node(
        self, assignment: Any, node: int, request: FetchRequest, offsets: Mapping[TopicPartition, int]
    ) -> None:
        try:
            answer = await self._client.send(node, request)
        except KafkaError as error:
            self._failed(offsets, f"broker {node} can't be reached ({error!r})")
            await self._pause(node)
            return
        if answer.error:
            self._failed(offsets, f"broker {node} answers {for_code(answer.error).__name__}")
            await self._pause(node)
            return
        self._retries.pop(node, None)
        if answer.topics:
            self._at_rest.discard(node)
        else:
            self._at_rest.add(node)
        refused = self._take_answer(assignment, offsets, answer)
        if self._not_fetched:
            self._not_fetched.answered(offsets.keys() - refused)
        if refused:
            await self._pause(node)

    def _take_answer(self, assignment: Any, offsets: Mapping[TopicPartition, int], answer: Any) -> set[TopicPartition]:
        """Returns the partitions that were refused."""
        refused: set[TopicPartition] = set()
        for topic, partitions in answer.topics:
            for number, code, end, *rest in partitions:
                partition = TopicPartition(topic, number)
                state = assignment.state_value(partition) if assignment.active else None
                current = state is not None and state.has_valid_position and state.position == offsets[partition]
                if code:
                    refused.add(partition)
                    self._refuse(partition, offsets[partition], code, current=current)
                    continue
                if state is not None:
                    state.highwater = end
                if current and rest[-1]:
                    self._ready[partition] = self._fetches.fetched(partition, offsets[partition], self._aborted(rest))
                else:
                    self._fetches.drop_answer(partition)
        return refused

    @staticmethod
    def _aborted(rest: Sequence[Any]) -> Any:
        """The aborted transactions: before the batches, and in answers of version 11 before the preferred replica, too."""
        return next((field for field in rest[:-1] if isinstance(field, list)), [])

    # Failing

    async def _pause(self, node: int) -> None:
        retry = self._retries.get(node)
        if retry is None:
            retry = self._retries[node] = self._new_retry()
        await retry.pause()

    def _refuse(self, partition: TopicPartition, offset: int, code: int, *, current: bool) -> None:
        error = for_code(code)
        if error is OffsetOutOfRangeError:
            if current:
                self._out_of_range[partition] = offset
        elif error is TopicAuthorizationFailedError:
            self._refused = TopicAuthorizationFailedError(partition.topic)
        else:
            self._failed((partition,), f"its broker answers {error.__name__}")

    def _notice_silence(self) -> None:
        """Notes the brokers that have not answered for long, for the partitions that they still lead."""
        now, leader = asyncio.get_running_loop().time(), self._client.cluster.leader_for_partition
        for node, asked in self._asking.items():
            if now >= asked.at + UNANSWERED and (theirs := [each for each in asked.partitions if leader(each) == node]):
                self._failed(theirs, f"broker {node} does not answer")

    def _failed(self, partitions: Iterable[TopicPartition], cause: str) -> None:
        """Notes the cause, and looks for other leaders: every such failure may be the end of one's time."""
        now = asyncio.get_running_loop().time()
        self._not_fetched.failed(partitions, cause, now)
        if now >= self._looked_at + LOOK_AGAIN:
            self._looked_at = now
            self._client.force_metadata_update()

    # Taking

    async def _answers(self, wait: float) -> None:
        """Waits until a broker has answered, or the assignment has ended."""
        if not self._asking:
            await asyncio.sleep(min(wait, NOTHING_TO_ASK))
            return
        ends = (*(asked.answer for asked in self._asking.values()), self._assignment.unassign_future)
        await asyncio.wait(ends, timeout=wait, return_when=asyncio.FIRST_COMPLETED)

    def _collect(self) -> None:
        """Lets the brokers that have answered be asked again. Raises what a broker refuses."""
        for node in [node for node, asked in self._asking.items() if asked.answer.done()]:
            self._asking.pop(node).answer.result()
        self._notice_silence()
        refused, self._refused = self._refused, None
        if refused is not None:
            raise refused
        if self._out_of_range:
            self._check_positions()

    def _check_positions(self) -> None:
        """Raises OffsetOutOfRangeError, but not for a position that is no longer the partition's."""
        refused, self._out_of_range = self._out_of_range, {}
        state = self._assignment.state_value
        if still := {partition: offset for partition, offset in refused.items() if state(partition).position == offset}:
            raise OffsetOutOfRangeError(still)

    def _drain(self, room: int) -> Drained:
        drained: Drained = {}
        self._fetches.begin_call()
        for partition, fetched in list(self._ready.items()):
            state = self._assignment.state_value(partition)
            if state.paused or not state.has_valid_position or state.position != fetched.next_fetch_offset:
                del self._ready[partition]  # it is fetched again
                continue
            records = list(islice(self._fetches.within_room(fetched), room))
            state.consumed_to(fetched.next_fetch_offset)
            if fetched.ended:
                del self._ready[partition]
            if records:
                drained[partition] = records
                room -= len(records)
                if not room:
                    break
        return drained
