"""What must hold of the archive and its store."""

import json
from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from simulation.archive import SimStore
from simulation.known import Durable, Violation, demand
from simulation.log import Brokers


class StoreJudge:
    """`durable` are the newest committed records, `deleted` the ids of responses that were deleted."""

    def __init__(self, brokers: Brokers, durable: Mapping[str, Durable], deleted: AbstractSet[str]) -> None:
        self._brokers = brokers
        self._durable = durable
        self._deleted = deleted
        self._archived: dict[int, int] = defaultdict(int)
        self.store: SimStore | None = None

    def archived(self, number: int, offset: int) -> None:
        """The archive commits: whatever lies before is in the store, or was outdone there."""
        assert self.store is not None
        for record in self._brokers.responses[number].read(self._archived[number], offset):
            key = (record.key or b"").decode()
            if record.value is None or key in self.store.deleted:
                demand(key not in self.store.entries, f"the archive commits {number} to {offset}, and {key} is stored")
                continue
            entry = self.store.entries.get(key)
            kept = entry is not None and entry.record is not None
            newest = kept and (entry.position.offset >= record.offset or entry.record.finished)  # type: ignore[union-attr]
            demand(newest, f"the archive commits {number} to {offset}, and {record.offset} of {key} is not stored")
        self._archived[number] = max(offset, self._archived[number])

    def unarchived(self) -> str | None:
        for log in self._brokers.responses:
            committed = self._brokers.archived.get(log.number, (0, ""))[0]
            if log.end < len(log.entries) or any(log.read(committed, log.end)):
                return f"responses[{log.number}] is archived to {committed} of {log.end}"
        return None

    def check(self) -> None:
        assert self.store is not None
        stored = {key: json.loads(entry.value or b"null") for key, entry in self.store.entries.items()}
        kept = {key: durable for key, durable in self._durable.items() if key not in self._deleted}
        for key, durable in kept.items():
            if stored.get(key) != durable.record:
                held = f"{stored.get(key)!r:.900} of {key}, committed is {durable.record!r:.900}"
                raise Violation(f"the store has {held}")
        demand(stored.keys() == kept.keys(), f"only in the store: {stored.keys() - kept.keys()}")
