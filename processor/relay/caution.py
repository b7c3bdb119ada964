"""Reads a partition whose owners ended without an orderly handover: a record may be what ends them.

A takeover counts the unclean ends at its committed offset. From `CAUTIOUS_AFTER` of them on, the owner consumes a
range of records at a time, and commits the range beforehand: `trying`, in the commit's metadata. The successor of an
owner that ended at a range consumes its records in smaller ranges in the same way, and finally one by one. Each range
costs a transaction, so a backlog must not be read record by record. A record at which an owner ended alone is a
suspect.

Owners end for other reasons too: Kafka is slow, another partition uses all the memory, a node disappears. Therefore
an end counts against a suspect only if hardly any other cause is possible. The owner first waits for a random time
beside the suspect, then commits the raised count, consumes the record if that commit was confirmed promptly while it
held its lease, and commits that it is alive. Only an end between those two commits counts. Surviving the record
clears it, and an orderly end does not raise the count. At `POISON_AFTER` counted ends the record goes to the dead
letters as `poison`, unread. This works for every cause of an end: a signal, memory, an event loop that hangs.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from processor.core.items import Raw, Refused
from processor.relay.commit_metadata import CommitMetadata, Trying
from topics.records import Reason

CAUTIOUS_AFTER: Final = 2
POISON_AFTER: Final = 4
QUIET_SECONDS: Final = (0.5, 5.0)
"""How long an owner lives beside a suspect before it feeds it: by chance, so that no other cause keeps the same time."""
PROMPT_SECONDS: Final = 0.25
"""What the commit of a raised count may take. Where Kafka is slower, the record is fed without it."""
STRETCHES: Final = (500, 25, 1)
"""Records that are fed together. A stretch costs a transaction, some tens of milliseconds; an end in one costs a takeover."""


@dataclass(slots=True)
class Caution:
    """Records to consume with care, from `since` on in ranges of `step`. Predecessors survived the records before.

    `until`: the offset from which records are consumed as usual.
    """

    step: int
    until: int
    suspect: Trying | None = None
    """A single record at which a predecessor ended."""
    since: int = 0
    position: int = -1
    """The next offset to be fetched, once records wait or waited here."""
    _waiting: deque[Raw] = field(default_factory=deque)

    @property
    def holds(self) -> bool:
        return bool(self._waiting)

    @property
    def over(self) -> bool:
        return self.position >= self.until and not self._next_before(self.until)

    def add(self, records: Sequence[Raw], position: int) -> None:
        self._waiting.extend(records)
        self.position = max(self.position, position)

    def next_records(self) -> list[Raw]:
        """The next records to feed together."""
        survived = self._next_before(self.since)
        size, before = (STRETCHES[0], self.since) if survived else (self.step, self.until)
        taken: list[Raw] = []
        while len(taken) < size and self._next_before(before):
            taken.append(self._waiting.popleft())
        return taken

    def put_back(self, records: Sequence[Raw]) -> None:
        """Records that were taken wait again, before all others."""
        self._waiting.extendleft(reversed(records))

    def rest(self) -> list[Raw]:
        """What waits when all that needs care was fed."""
        rest = list(self._waiting)
        self._waiting.clear()
        return rest

    def _next_before(self, offset: int) -> bool:
        return bool(self._waiting) and self._waiting[0].offset < offset

    def marker(self, records: Sequence[Raw]) -> Trying:
        """What is durable while the records are fed, with the ends that count against them so far."""
        if self.suspects(records) and self.suspect is not None:
            return self.suspect
        return Trying(records[0].offset, records[-1].offset + 1, 0)

    def suspects(self, records: Sequence[Raw]) -> bool:
        return self.suspect is not None and len(records) == 1 and self.suspect.first == records[0].offset

    def survived(self, end: int) -> None:
        """Everything before `end` was fed, and this owner lives."""
        if self.suspect is not None and self.suspect.first < end:
            self.suspect = None


def caution(metadata: CommitMetadata, attempts: int, offset: int, end: int) -> Caution | None:
    """How to read from `offset`; None as usual. `metadata` is the predecessor's, `attempts` count its end in."""
    trying = metadata.trying
    if trying is not None and trying.end > offset and not is_poison(trying) and (attempts or trying.single):
        step = _smaller(trying.end - trying.first)
        return Caution(step, trying.end, trying if trying.single else None, since=trying.first)
    if attempts < CAUTIOUS_AFTER or end <= offset:
        return None
    return Caution(_smaller(end - offset), end)


def _smaller(records: int) -> int:
    """Returns the largest range that divides this number of records."""
    return next((size for size in STRETCHES if size < records), 1)


def is_poison(trying: Trying) -> bool:
    return trying.single and trying.times >= POISON_AFTER


def poison_of(metadata: CommitMetadata) -> dict[int, str]:
    """Offsets that are not to be fed, with the detail of their dead letters."""
    poison = dict.fromkeys(metadata.poison, "an earlier owner of the partition gave this record up")
    trying = metadata.trying
    if trying is not None and is_poison(trying):
        poison[trying.first] = f"{trying.times} owners of the partition ended at once when they read this record alone"
    return poison


def without(records: Sequence[Raw], poison: dict[int, str]) -> Sequence[Raw]:
    """The records, with what is poison refused."""
    return [Refused(raw, Reason.POISON, poison[raw.offset]) if raw.offset in poison else raw for raw in records]
