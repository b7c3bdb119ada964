"""Finished responses a partition still remembers, so that what comes after an end is told from something new."""

from collections import OrderedDict

import msgspec

from processor.core.limits import REMEMBERED_FINALS
from processor.core.response import Raw, Response
from processor.core.sequencer import Verdict, is_start
from topics.codec import TokenRecord
from topics.records import STATUS_BY_REASON, Reason, ResponseRecord

DELETED_SEQ = 2**53


class Finished(msgspec.Struct, gc=False):
    """`seq` is the last number of a consumed record: the stop of an end the relay made has one that is no record's.

    `record_offset` is None until the final record is committed. `last_offset` is the last tokens offset seen of it.
    """

    seq: int
    gaps: tuple[tuple[int, int], ...]
    start_digest: str
    last_offset: int
    finished_at: float
    refused: bool
    record_offset: int | None = None


class FinishedMemory:
    """In the order in which the finals were written, which is that of their `responses` offsets."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: OrderedDict[str, Finished] = OrderedDict()

    def remember(self, response: Response, now: float) -> None:
        self._entries[response.id] = Finished(
            _last_consumed(response.acked_seq, response.reason, refused=response.refused),
            tuple(response.gaps),
            response.start_digest,
            response.last_offset,
            now,
            response.refused,
        )

    def restore(self, record: ResponseRecord, offset: int, now: float) -> None:
        relay = record.relay
        refused = bool(relay.get("refused", False))
        self._put(
            record.response_id,
            Finished(
                _last_consumed(record.seq, record.reason, refused=refused),
                record.gaps,
                str(relay.get("start", "")),
                int(relay.get("offset", -1)),
                now,
                refused,
                offset,
            ),
        )

    def restore_deleted(self, response_id: str, offset: int, now: float) -> None:
        """A tombstone: whatever is replayed of the response is a repeat."""
        known = self._entries.get(response_id)
        last_offset = known.last_offset if known else -1
        self._put(response_id, Finished(DELETED_SEQ, (), "", last_offset, now, False, offset))

    def _put(self, response_id: str, finished: Finished) -> None:
        self._entries[response_id] = finished
        self._entries.move_to_end(response_id)

    def get(self, response_id: str) -> Finished | None:
        return self._entries.get(response_id)

    def committed(self, response_id: str, record_offset: int) -> None:
        if entry := self._entries.get(response_id):
            entry.record_offset = record_offset
            self._entries.move_to_end(response_id)

    def holds_older_than(self, moment: float) -> bool:
        return bool(self._entries) and next(iter(self._entries.values())).finished_at < moment

    def forget(self, now: float, ttl: float, committed_offset: int) -> None:
        """Let go of finals older than `ttl`, or beyond the newest 10,000, that no replay can meet any more."""
        while self._entries:
            entry = next(iter(self._entries.values()))
            old = now - entry.finished_at > ttl or len(self._entries) > REMEMBERED_FINALS
            if not old or entry.record_offset is None or entry.last_offset >= committed_offset:
                return
            self._entries.popitem(last=False)

    def first_record_offset(self) -> int | None:
        """The smallest `responses` offset a successor must read from to know them all."""
        for entry in self._entries.values():
            if entry.record_offset is not None:
                return entry.record_offset
        return None

    def __len__(self) -> int:
        return len(self._entries)


def _last_consumed(seq: int, reason: str | None, *, refused: bool) -> int:
    made_by_relay = not refused and reason not in STATUS_BY_REASON
    return seq - 1 if made_by_relay else seq


def judge_after_end(finished: Finished, record: TokenRecord, raw: Raw, digest: str) -> Verdict | Reason:
    """What a record of a finished response is: a repeat, or something for the dead letters."""
    if raw.offset <= finished.last_offset:
        return Verdict.DUPLICATE
    if is_start(record):
        return Verdict.DUPLICATE if digest == finished.start_digest else Reason.RESPONSE_ID_REUSED
    beyond = record.seq is None or record.seq > finished.seq
    if finished.refused:
        return Reason.UNPUBLISHABLE if beyond else Verdict.DUPLICATE
    if beyond or any(first <= (record.seq or 0) <= last for first, last in finished.gaps):
        return Reason.LATE
    return Verdict.DUPLICATE
