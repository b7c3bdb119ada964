"""What the judges know of a response: its newest durable record, and what was published of it."""

from dataclasses import dataclass, field
from typing import Any

from topics.records import STATUS_BY_REASON, EndReason

RELAY_ENDS = frozenset(EndReason) - STATUS_BY_REASON.keys() - {EndReason.UNPUBLISHABLE}
"""Ends with a stop that the relay makes, whose number is no record's."""


class Violation(AssertionError):
    """A promise is broken."""


def demand(holds: object, what: str) -> None:
    if not holds:
        raise Violation(what)


@dataclass(slots=True)
class Durable:
    """The newest committed record of a response, and what was ever decided in one."""

    record: dict[str, Any]
    decided_gaps: set[tuple[int, int]] = field(default_factory=set)
    decided_end: dict[str, Any] | None = None
    relay_made: bool = False
    """Whether a stop of a reason that producers give, too, can only be the relay's."""

    @property
    def finished(self) -> bool:
        return bool(self.record["status"] != "streaming")

    @property
    def forced(self) -> bool:
        """Whether the relay ended it because its cancel was not obeyed."""
        return bool(self.record["reason"] == "cancelled" and self.record["relay"].get("ended"))

    @property
    def last(self) -> int:
        """The last number of a produced record that it covers."""
        seq: int = self.record["seq"]
        return seq - 1 if self.relay_made or self.forced or self.record["reason"] in RELAY_ENDS else seq

    @property
    def gaps(self) -> set[int]:
        return {seq for first, last in self.record["gaps"] for seq in range(first, last + 1)}


@dataclass(slots=True)
class Shown:
    """What was published of a response: the highest number without a hole before it, and the units of each part."""

    through: int = -1
    units: dict[str, int] = field(default_factory=dict)
    stop: Any = None
    gaps: set[tuple[int, int]] = field(default_factory=set)
