"""Decides which records of a batch to store and which to set aside: a pure function of the batch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from processor.core.write_queue import DeadLetter
from processor.kafka.dead_letter_writer import SourcedLetter
from processor.ports.store import Entry, Position, outdoes
from topics.records import FORMAT_VERSION, Reason


@dataclass(frozen=True, slots=True)
class Arrival:
    """One record as it was read from `responses`. `generation` is the group's when it was read."""

    topic: str
    position: Position
    key: bytes | None
    value: bytes | None
    generation: int = 0

    @property
    def size(self) -> int:
        return len(self.value or b"") + len(self.key or b"") + 200


@dataclass(frozen=True, slots=True)
class ArrivedRecord:
    """An arrival as `processor.core.items.Raw`. Its headers were not kept."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: None = None
    headers: tuple[()] = ()


@dataclass(frozen=True, slots=True)
class RefusedArrival:
    arrival: Arrival
    reason: Reason
    detail: str

    def letter(self) -> SourcedLetter:
        arrived = self.arrival
        raw = ArrivedRecord(arrived.position.offset, arrived.key, arrived.value)
        return SourcedLetter(DeadLetter(raw, self.reason, self.detail), arrived.topic, arrived.position.partition)


@dataclass(frozen=True, slots=True)
class SortedBatch:
    """`entries` has at most one per response; `arrivals` has the origin of each, in case the store refuses it."""

    entries: tuple[Entry, ...]
    refused: tuple[RefusedArrival, ...]
    arrivals: dict[Position, Arrival]


def sort_out(batch: Sequence[Arrival]) -> SortedBatch:
    """Decode, and keep of each response what the store would keep if it were given all of them in order."""
    newest: dict[str, Entry] = {}
    refused: list[RefusedArrival] = []
    for arrival in batch:
        match _decode(arrival):
            case RefusedArrival() as bad:
                refused.append(bad)
            case Entry() as entry:
                before = newest.get(entry.response_id)
                if before is None or _replaces(entry, before):
                    newest[entry.response_id] = entry
    return SortedBatch(tuple(newest.values()), tuple(refused), {one.position: one for one in batch})


def _decode(arrival: Arrival) -> Entry | RefusedArrival:
    if arrival.value is None:
        return _tombstone(arrival)
    try:
        return Entry.of(arrival.position, arrival.value)
    except ValueError as error:
        return RefusedArrival(arrival, _why(arrival.value), str(error))


def _tombstone(arrival: Arrival) -> Entry | RefusedArrival:
    if not arrival.key:
        return RefusedArrival(arrival, Reason.NO_KEY, "a tombstone without a key deletes nothing")
    try:
        return Entry(arrival.position, arrival.key.decode(), None, None)
    except ValueError:
        return RefusedArrival(arrival, Reason.INVALID, "the key is not UTF-8")


def _why(value: bytes) -> Reason:
    try:
        parsed = orjson.loads(value)
    except ValueError:
        return Reason.NOT_JSON
    later = isinstance(parsed, dict) and isinstance(parsed.get("v"), int) and parsed["v"] > FORMAT_VERSION
    return Reason.VERSION if later else Reason.INVALID


def _replaces(new: Entry, old: Entry) -> bool:
    if old.record is None or new.record is None:
        return old.record is not None  # once deleted, always deleted
    return outdoes(
        new.position,
        new.record,
        old.position,
        old_finished=old.record.finished,
        old_updated_at=old.record.updated_at,
    )


def newest_offsets(batch: Iterable[Arrival]) -> dict[tuple[int, int], int]:
    """Of each (partition, generation), the last offset in the batch."""
    newest: dict[tuple[int, int], int] = {}
    for arrival in batch:
        key = (arrival.position.partition, arrival.generation)
        newest[key] = max(arrival.position.offset, newest.get(key, -1))
    return newest
