"""Writes a response from the dead letters back to the tokens topic, as a new response that names the old one.

`plan_replay` decides from the dead letters alone; `Replayer` finds what they lack, and writes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from processor.errors import Fatal, KafkaUnavailable
from processor.kafka import ResponsesReader
from processor.kafka.connection import KafkaConnection
from processor.kafka.dead_letter_reader import Source, StoredDeadLetter
from topics.codec import TokenRecord, decode_record, decode_response
from topics.producer import DeliveryError, ResponseWriter, TokenProducer
from topics.records import EndReason, Event, JsonObject, Reason, ResponseRecord

REPLAY_OF = "replayOf"
INCOMPLETE: JsonObject = {"code": "replay_incomplete", "message": "the dead letters hold no stop of this response"}


class ReplayImpossible(Fatal):
    """These dead letters make no response."""


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """The new response, except for its id. `channel` is None if no dead letter has it.

    `missing` are sequence numbers between the first and the last that no dead letter has; `left_out` counts dead
    letters that are not valid token records, or repeat another.
    """

    old_id: str
    partition: int
    tokens: tuple[TokenRecord, ...]
    stop: TokenRecord | None
    channel: str | None
    metadata: JsonObject | None
    missing: tuple[tuple[int, int], ...] = ()
    left_out: int = 0
    whole: bool = True
    """Whether this is all there was of a response in the dead letters, so that no stop means it had none."""

    @property
    def new_metadata(self) -> JsonObject:
        return {**(self.metadata or {}), REPLAY_OF: self.old_id}


def plan_replay(letters: Iterable[StoredDeadLetter], response_id: str) -> ReplayPlan:
    """Plans from all records of a response, in order: those that its channel refused, or all if there are no such
    records.

    Raises ReplayImpossible if none of them is a valid token record.
    """
    mine = [letter for letter in letters if letter.response_id == response_id]
    if not mine:
        raise ReplayImpossible(f"No dead letter is of response {response_id}: `dead-letters list` shows what there is.")
    refused = [letter for letter in mine if letter.reason == Reason.UNPUBLISHABLE]
    return _plan(response_id, refused or mine)


def plan_single(letter: StoredDeadLetter) -> ReplayPlan:
    """This one record as a response of its own. Raises ReplayImpossible where it is no valid token record."""
    if letter.response_id is None:
        raise ReplayImpossible(f"The dead letter of {letter.source} names no response: it can only be produced again.")
    return replace(_plan(letter.response_id, [letter]), whole=False)


def _plan(response_id: str, letters: list[StoredDeadLetter]) -> ReplayPlan:
    valid = _in_order(letters)
    if not valid:
        reasons = ", ".join(sorted({letter.reason for letter in letters}))
        raise ReplayImpossible(
            f"None of the {len(letters)} dead letters of response {response_id} is a valid token record ({reasons}):"
            " produce it again."
        )
    records = [record for _, record in valid]
    start = next((record for record in records if record.event == Event.START), None)
    source = valid[0][0]
    return ReplayPlan(
        old_id=response_id,
        partition=source.partition,
        tokens=tuple(record for record in records if record.event == Event.TOKEN),
        stop=next((record for record in reversed(records) if record.event == Event.STOP), None),
        channel=start.channel if start else None,
        metadata=start.metadata if start else None,
        missing=_missing(records),
        left_out=len(letters) - len(records),
    )


def _in_order(letters: list[StoredDeadLetter]) -> list[tuple[Source, TokenRecord]]:
    """Valid records, each sequence number once: by sequence number, or by their place in the log where they have none."""
    by_source: dict[Source, TokenRecord] = {}
    for letter in letters:
        record = decode_record(letter.value)
        if letter.source is not None and isinstance(record, TokenRecord):
            by_source.setdefault(letter.source, record)
    placed = sorted(by_source.items(), key=lambda item: item[0])
    if any(record.seq is None for _, record in placed):
        return placed
    by_seq: dict[int, tuple[Source, TokenRecord]] = {}
    for source, record in placed:
        by_seq.setdefault(record.seq or 0, (source, record))
    return [by_seq[seq] for seq in sorted(by_seq)]


def _missing(records: list[TokenRecord]) -> tuple[tuple[int, int], ...]:
    numbers = [record.seq for record in records if record.seq is not None]
    return tuple((before + 1, after - 1) for before, after in pairwise(numbers) if after > before + 1)


@dataclass(frozen=True, slots=True)
class Replayed:
    response_id: str
    channel: str
    records: int


class Replayer:
    def __init__(
        self, connection: KafkaConnection, *, tokens_topic: str, responses_topic: str, max_batch_bytes: int
    ) -> None:
        self._connection = connection
        self._tokens_topic = tokens_topic
        self._responses_topic = responses_topic
        self._max_batch_bytes = max_batch_bytes

    async def complete(self, plan: ReplayPlan, channel: str | None) -> ReplayPlan:
        """Returns the plan with its channel and metadata: from its start, else from the response's record; `channel`
        overrides both.

        Raises ReplayImpossible if the channel is unknown, KafkaUnavailable.
        """
        if plan.channel is None:
            record = await self._newest_record(plan)
            if record is not None:
                plan = replace(plan, channel=record.channel, metadata=record.metadata)
        plan = replace(plan, channel=channel or plan.channel)
        if plan.channel is None:
            raise ReplayImpossible(
                f"Neither a dead letter nor a record on {self._responses_topic} has the channel of response {plan.old_id}:"
                " give it with --channel."
            )
        return plan

    async def put_back(self, plan: ReplayPlan) -> Replayed:
        """Write the new response. Durable when it returns.

        Raises KafkaUnavailable (a part of it may have been written: it then has a gap or no end), ReplayImpossible.
        """
        try:
            async with TokenProducer(
                **self._connection.arguments(), topic=self._tokens_topic, controls_topic=None
            ) as producer:
                response = producer.response(plan.channel or "", metadata=plan.new_metadata)
                async with response:
                    await _write(response, plan)
        except DeliveryError as error:
            raise KafkaUnavailable(f"Response {plan.old_id} was not replayed: {error}.") from error
        except ValueError as error:
            raise ReplayImpossible(f"Response {plan.old_id} can't be replayed: {error}.") from error
        return Replayed(response.response_id, response.channel, response.seq)

    async def _newest_record(self, plan: ReplayPlan) -> ResponseRecord | None:
        """Reads the partition of `responses` with the same number as the tokens' partition, which has the response's
        records.
        """
        wanted, newest = plan.old_id.encode(), None

        def take(_offset: int, key: bytes, value: bytes | None) -> None:
            nonlocal newest
            if key == wanted:
                newest = value  # None where it was deleted: then nothing is known of it any more

        reader = ResponsesReader(lambda: self._connection, self._responses_topic, max_batch_bytes=self._max_batch_bytes)
        try:
            await reader.read(plan.partition, 0, take)
        finally:
            await reader.close()
        return None if newest is None else decode_response(newest)


async def _write(response: ResponseWriter, plan: ReplayPlan) -> None:
    for record in plan.tokens:
        await response.token(record.text or "", kind=record.kind, part=record.part, part_info=record.part_info)
    if plan.stop is not None:
        await response.stop(reason=plan.stop.reason or EndReason.STOP, usage=plan.stop.usage, error=plan.stop.error)
    elif plan.whole:
        await response.stop(reason=EndReason.ERROR, error=INCOMPLETE)
