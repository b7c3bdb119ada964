"""Reading a partition whose owners ended without giving it back: a record may be what ends them.

A takeover counts the unclean ends at its committed offset. From `CAUTIOUS_AFTER` of them on, the owner feeds a stretch of
records at a time, and commits beforehand which: `trying`, in the commit's metadata. Who comes after an owner that ended at a
stretch feeds its records one by one in the same way. A record at which `POISON_AFTER` owners ended by themselves goes to the
dead letters as `poison`, unread. It works for whatever ends an owner: a signal, memory, a loop that no longer turns.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from processor.core.items import Raw, Refused
from processor.ingest.commit_metadata import CommitMetadata, Trying
from topics.records import Reason

CAUTIOUS_AFTER: Final = 2
POISON_AFTER: Final = 2
STRETCH: Final = 500
"""Records, so that a long backlog costs few transactions: each takes some tens of milliseconds."""


@dataclass(slots=True)
class Caution:
    """What waits to be fed with care. `until`: the offset from which on everything is read as usual again."""

    step: int
    until: int
    suspect: Trying | None = None
    """A single record that was being tried when the predecessor ended."""
    position: int = -1
    """The next offset to be fetched, once records wait or waited here."""
    _waiting: deque[Raw] = field(default_factory=deque)

    @property
    def holds(self) -> bool:
        return bool(self._waiting)

    def add(self, records: Sequence[Raw], position: int) -> None:
        self._waiting.extend(records)
        self.position = max(self.position, position)

    def take(self) -> list[Raw]:
        """The next records to feed together."""
        return [self._waiting.popleft() for _ in range(min(self.step, len(self._waiting)))]

    def marker(self, records: Sequence[Raw]) -> Trying:
        first, end = records[0].offset, records[-1].offset + 1
        times = self.suspect.times if self.suspect is not None and self.suspect.first == first else 0
        return Trying(first, end, times + 1)


def caution(metadata: CommitMetadata, attempts: int, offset: int, end: int) -> Caution | None:
    """How to read from `offset`; None as usual. `metadata` is the predecessor's, `attempts` count its end in."""
    trying = metadata.trying
    if attempts and trying is not None and trying.end > offset:
        return Caution(1, trying.end, trying if trying.single else None)
    if attempts < CAUTIOUS_AFTER or end <= offset:
        return None
    return Caution(1 if end - offset <= STRETCH else STRETCH, end)


def poison_of(metadata: CommitMetadata) -> dict[int, str]:
    """Offsets that are not to be fed, with the detail of their dead letters."""
    trying = metadata.trying
    if metadata.clean or trying is None or not trying.single or trying.times < POISON_AFTER:
        return {}
    return {trying.first: f"{trying.times} owners of the partition ended while they read this record alone"}


def without(records: Sequence[Raw], poison: dict[int, str]) -> Sequence[Raw]:
    """The records, with what is poison refused."""
    return [Refused(raw, Reason.POISON, poison[raw.offset]) if raw.offset in poison else raw for raw in records]
