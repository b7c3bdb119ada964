"""Compares the store with Kafka: every finished response must be equal byte for byte, and no deleted response stored."""

import hashlib
from collections.abc import AsyncIterable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from processor.kafka.connection import ConnectionSource
from processor.kafka.log_reader import LogEntry, read_log
from processor.kafka.record_batches import DEFAULT_MAX_BATCH_BYTES
from processor.ports.store import Entry, Held, Position, Progress, ResponseStore, last_changed, outdoes

CHUNK = 500


@dataclass(frozen=True, slots=True)
class Expected:
    """The newest record of one response on the log, without its text."""

    position: Position
    finished: bool
    updated_at: int
    sha256: str
    tombstone: bool = False
    changed_at: int = 0


@dataclass(slots=True)
class VerifyReport:
    """Ids, sorted.

    `missing`: not stored, or stored unfinished.
    `different`: stored with other bytes.
    `undeleted`: stored, although there is a tombstone.
    `deleted`: on the log, and known as deleted.
    `unreadable`: invalid records, which the archive set aside.
    `earlier`: the store has a final record from before the log's. This is correct: compaction keeps the last one, a
    store the first.
    """

    finished: int = 0
    equal: int = 0
    earlier: int = 0
    deleted: int = 0
    unreadable: int = 0
    missing: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    undeleted: list[str] = field(default_factory=list)
    repaired: int = 0

    @property
    def whole(self) -> bool:
        return not (self.missing or self.different or self.undeleted)


async def verify(
    store: ResponseStore,
    source: ConnectionSource,
    *,
    responses_topic: str,
    since: int | None = None,
    repair: bool = False,
    progress: Progress | None = None,
    max_batch_bytes: int = DEFAULT_MAX_BATCH_BYTES,
) -> VerifyReport:
    """Read the log once, compare; with `repair` read it again, and store what was missing or different.

    Memory: about 300 bytes a response. What the archive has not read yet counts as missing. Raises KafkaUnavailable,
    StoreUnavailable.
    """
    report = VerifyReport()
    read = partial(read_log, source, responses_topic, since=since, max_batch_bytes=max_batch_bytes)
    expected = await newest_on_log(read(progress=progress), report)
    await compare(store, expected, report)
    if repair and not report.whole:
        report.repaired += await _tombstone(store, expected, report.undeleted)
        for ids, force in ((report.missing, False), (report.different, True)):
            wanted = {expected[one].position for one in ids}
            report.repaired += await _store_again(store, read(), wanted, force=force) if wanted else 0
    return report


async def newest_on_log(log: AsyncIterable[LogEntry], report: VerifyReport) -> dict[str, Expected]:
    """By the archive's own rule: a tombstone is the end, and the first finished record of a response is never replaced."""
    newest: dict[str, Expected] = {}
    async for arrival in log:
        if arrival.value is None:
            key = (arrival.key or b"").decode("utf-8", "replace")
            newest[key] = Expected(arrival.position, finished=True, updated_at=0, sha256="", tombstone=True)
            continue
        try:
            entry = Entry.of(arrival.position, arrival.value)
        except ValueError:
            report.unreadable += 1
            continue
        before = newest.get(entry.response_id)
        if before is None or _replaces(entry, before):
            newest[entry.response_id] = _expected(entry, arrival.value)
    return newest


def _expected(entry: Entry, value: bytes) -> Expected:
    assert entry.record is not None
    sha256 = hashlib.sha256(value).hexdigest() if entry.record.finished else ""
    record = entry.record
    return Expected(entry.position, record.finished, record.updated_at, sha256, changed_at=last_changed(record))


def _replaces(entry: Entry, before: Expected) -> bool:
    assert entry.record is not None
    if before.tombstone:
        return False
    return outdoes(
        entry.position,
        entry.record,
        before.position,
        old_finished=before.finished,
        old_updated_at=before.updated_at,
    )


async def compare(store: ResponseStore, expected: dict[str, Expected], report: VerifyReport) -> None:
    due = sorted(one for one, record in expected.items() if record.finished)
    report.finished = sum(not expected[one].tombstone for one in due)
    for ids in _chunks(due):
        held: dict[str, Held] = {}
        async for one in store.held(ids):
            if one.deleted or one.response_id not in held:
                held[one.response_id] = one
        for response_id in ids:
            _judge(response_id, expected[response_id], held.get(response_id), report)


def _judge(response_id: str, wanted: Expected, held: Held | None, report: VerifyReport) -> None:
    if wanted.tombstone:
        if held is not None and not held.deleted:
            report.undeleted.append(response_id)
    elif held is not None and held.deleted:
        report.deleted += 1
    elif held is None or not held.finished:
        report.missing.append(response_id)
    elif held.sha256 == wanted.sha256:
        report.equal += 1
    elif _ended_before(held, wanted):
        report.earlier += 1
    else:
        report.different.append(response_id)


def _ended_before(held: Held, wanted: Expected) -> bool:
    """Whether the stored record is the earlier one. Offsets start again in a topic that was created again: the time decides too."""
    at, other = held.position, wanted.position
    same_partition = at is not None and at.partition == other.partition
    return held.changed_at < wanted.changed_at or (same_partition and at is not None and at.offset < other.offset)


async def _tombstone(store: ResponseStore, expected: dict[str, Expected], response_ids: Sequence[str]) -> int:
    for ids in _chunks(response_ids):
        await store.upsert_batch([Entry(expected[one].position, one, None, None) for one in ids])
    return len(response_ids)


async def _store_again(
    store: ResponseStore, log: AsyncIterable[LogEntry], wanted: set[Position], *, force: bool
) -> int:
    """What is missing needs no force: the archive may have stored an earlier final record meanwhile."""
    repaired = 0
    batch: list[Entry] = []
    async for arrival in log:
        if arrival.position in wanted and arrival.value is not None:
            batch.append(Entry.of(arrival.position, arrival.value))
        if len(batch) >= CHUNK:
            await store.upsert_batch(batch, force=force)
            repaired, batch = repaired + len(batch), []
    if batch:
        await store.upsert_batch(batch, force=force)
    return repaired + len(batch)


def _chunks(items: Sequence[str]) -> Iterable[Sequence[str]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
