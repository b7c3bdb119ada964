"""Remembers the finished responses of a partition, to distinguish records after an end from new responses.

The newest are remembered exactly, for `FINISHED_TTL`.
After that an id, its last number and part of its start's digest are kept (`EndedIds`), while there is room.
"""

from collections import OrderedDict
from itertools import islice
from typing import Final

import msgspec

from processor.core.ended import DELETED, SEGMENTS, Ended, EndedIds
from processor.core.limits import REMEMBERED_ENDS, REMEMBERED_FINALS
from processor.core.response import Raw, Response, is_within
from processor.core.sequencer import Verdict, is_start
from topics.codec import TokenRecord
from topics.records import STATUS_BY_REASON, Reason, ResponseRecord

DELETED_SEQ: Final = 2**53
UNKNOWN_OFFSET: Final = 2**63 - 1


class Finished(msgspec.Struct, gc=False):
    """A finished response. `seq` is the last number of a consumed record; the stop of an end that the relay made has
    no record.

    `record_offset` is None until the final record is committed.
    `last_offset` is the last tokens offset that was read of the response; the log has records of it up to
    `known_offset` at least.
    """

    seq: int
    gaps: tuple[tuple[int, int], ...]
    start_digest: str
    last_offset: int
    known_offset: int
    finished_at: float
    refused: bool
    record_offset: int | None = None

    @property
    def deleted(self) -> bool:
        return self.seq == DELETED_SEQ


class HeldEnds(msgspec.Struct):
    """Ends that left the exact memory before the committed offset passed their records. Those records are below or at
    `until`.

    `restore` is the first `responses` offset of their final records.
    """

    until: int
    restore: int
    count: int


class FinishedMemory:
    """In the order in which the final records were written, which is the order of their `responses` offsets."""

    __slots__ = (
        "_ended",
        "_entries",
        "_finals",
        "_held",
        "_held_count",
        "_most_held",
        "replayed_before",
    )

    def __init__(self, finals: int = REMEMBERED_FINALS, ended: int = REMEMBERED_ENDS) -> None:
        self._entries: OrderedDict[str, Finished] = OrderedDict()
        self._finals = finals
        self._ended = EndedIds(ended)
        self._most_held = ended
        self._held: list[HeldEnds] = []
        self._held_count = 0
        self.replayed_before = 0
        """The offset below which every record of a response that ended long ago is a repeat."""

    def remember(self, response: Response, now: float) -> None:
        self._entries[response.id] = Finished(
            _last_consumed(
                response.acked_seq, response.reason, refused=response.refused, ended_by_relay=response.ended_by_relay
            ),
            tuple(response.gaps),
            response.start_digest,
            response.last_offset,
            max(response.last_offset, response.acked_offset),
            now,
            response.refused,
        )

    def restore(self, record: ResponseRecord, offset: int, now: float) -> None:
        relay = record.relay
        refused = bool(relay.get("refused", False))
        last_offset = int(relay.get("offset", -1))
        self._put(
            record.response_id,
            Finished(
                _last_consumed(
                    record.seq, record.reason, refused=refused, ended_by_relay=bool(relay.get("ended", False))
                ),
                record.gaps,
                str(relay.get("start", "")),
                last_offset,
                max(last_offset, int(relay.get("known", -1))),
                now,
                refused,
                offset,
            ),
        )

    def restore_deleted(self, response_id: str, offset: int, now: float) -> None:
        """Applies a tombstone: every later record of the response is a repeat, and its text is copied nowhere."""
        self._put(response_id, Finished(DELETED_SEQ, (), "", -1, UNKNOWN_OFFSET, now, False, offset))

    def _put(self, response_id: str, finished: Finished) -> None:
        self._entries[response_id] = finished
        self._entries.move_to_end(response_id)
        while len(self._entries) > self._finals:
            self._compact(*self._entries.popitem(last=False), committed_offset=-1)

    def reopen(self, response_id: str) -> None:
        """Forgets a response whose id a newer record shows to be used again."""
        self._entries.pop(response_id, None)

    def begin(self, position: int, end_offset: int) -> None:
        """Notes that the log ends at `end_offset` and is read from `position`: no record of an ended response is
        beyond that end.
        """
        end = max(position, end_offset)
        self.replayed_before = end
        for entry in self._entries.values():
            entry.last_offset = min(entry.last_offset, end - 1)
            entry.known_offset = min(entry.known_offset, end - 1)
        for held in self._held:
            held.until = min(held.until, end - 1)
        self._release_held(position)
        if self._held:
            until = max(held.until for held in self._held)
            self._held, self._held_count = [HeldEnds(until, min(held.restore for held in self._held), 0)], 0

    def get(self, response_id: str) -> Finished | Ended | None:
        return self._entries.get(response_id) or self._ended.get(response_id)

    def meet(self, response_id: str, offset: int) -> Finished | Ended | None:
        """Returns the ended response of the record at `offset`. Keeps its end readable for a successor that may read
        the record again.
        """
        ended = self.get(response_id)
        if isinstance(ended, Finished):
            ended.known_offset = max(ended.known_offset, offset)
        return ended

    def committed(self, response_id: str, record_offset: int) -> None:
        if entry := self._entries.get(response_id):
            entry.record_offset = record_offset
            self._entries.move_to_end(response_id)

    def holds_older_than(self, moment: float) -> bool:
        return bool(self._entries) and next(iter(self._entries.values())).finished_at < moment

    def forget(self, now: float, ttl: float, committed_offset: int) -> None:
        """Reduces final records that are older than `ttl`, or beyond the newest ones, to their ids."""
        self._release_held(committed_offset)
        while self._entries:
            entry = next(iter(self._entries.values()))
            old = now - entry.finished_at > ttl or len(self._entries) > self._finals
            if not old or entry.record_offset is None:
                return
            self._compact(*self._entries.popitem(last=False), committed_offset=committed_offset)

    def _compact(self, response_id: str, entry: Finished, *, committed_offset: int) -> None:
        self._ended.add(response_id, DELETED if entry.deleted else entry.seq, _first_bits(entry.start_digest))
        if entry.known_offset >= committed_offset and entry.record_offset is not None:
            self._hold(entry.known_offset, entry.record_offset)

    def _hold(self, known_offset: int, record_offset: int) -> None:
        newest = self._held[-1] if self._held else None
        full = newest is not None and newest.count >= max(1, self._most_held // SEGMENTS)
        if newest is None or (full and len(self._held) < 2 * SEGMENTS):
            newest = HeldEnds(known_offset, record_offset, 0)
            self._held.append(newest)
        newest.until = max(newest.until, known_offset)
        newest.restore = min(newest.restore, record_offset)
        newest.count += 1
        self._held_count += 1

    def _release_held(self, committed_offset: int) -> None:
        """Releases ends by segments, so that the newest end does not hold back one that waits for little."""
        self._held = [held for held in self._held if held.until >= committed_offset]
        self._held_count = sum(held.count for held in self._held)

    @property
    def overfull(self) -> bool:
        """Returns True if a successor, which reads from the committed offset, could not know every response that
        ended since.
        """
        return self._held_count >= self._most_held

    def first_record_offset(self) -> int | None:
        """Returns the smallest `responses` offset that a successor must read from to know every such end."""
        offsets = [held.restore for held in self._held]
        written = (entry.record_offset for entry in self._entries.values() if entry.record_offset is not None)
        return min([*offsets, *islice(written, 1)], default=None)

    def __len__(self) -> int:
        return len(self._entries)


def _first_bits(digest: str) -> int:
    return int(digest[:8] or "0", 16)


def _last_consumed(seq: int, reason: str | None, *, refused: bool, ended_by_relay: bool) -> int:
    """Records of earlier versions lack `ended_by_relay`; their reason shows it, since no producer gives such a reason."""
    made_by_relay = not refused and (ended_by_relay or reason not in STATUS_BY_REASON)
    return seq - 1 if made_by_relay else seq


def judge_after_end(
    ended: Finished | Ended, record: TokenRecord, raw: Raw, digest: str, replayed: int
) -> Verdict | Reason:
    """Classifies a record of a finished response: a repeat, or a dead letter with its reason.

    `replayed` is the memory's `replayed_before`.
    """
    if ended.deleted or raw.offset < (replayed if isinstance(ended, Ended) else ended.last_offset + 1):
        return Verdict.DUPLICATE
    if is_start(record):
        return Verdict.DUPLICATE if _is_its_start(ended, digest) else Reason.RESPONSE_ID_REUSED
    beyond = record.seq is None or record.seq > ended.seq
    if isinstance(ended, Ended):
        return Reason.LATE if beyond else Verdict.DUPLICATE
    if ended.refused:
        return Reason.UNPUBLISHABLE if beyond else Verdict.DUPLICATE
    if beyond or is_within(ended.gaps, record.seq or 0):
        return Reason.LATE
    return Verdict.DUPLICATE


def _is_its_start(ended: Finished | Ended, digest: str) -> bool:
    return _first_bits(digest) == ended.start if isinstance(ended, Ended) else digest == ended.start_digest
