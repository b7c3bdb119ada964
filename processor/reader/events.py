"""The events of a reader of frames: what a message, a record or a repair changed in its responses."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Started:
    response_id: str


@dataclass(frozen=True, slots=True)
class Appended:
    response_id: str
    part: str
    text: str


@dataclass(frozen=True, slots=True)
class GapSeen:
    response_id: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Stopped:
    response_id: str
    status: str
    verified: bool | None


@dataclass(frozen=True, slots=True)
class Replaced:
    """The response's text was taken from a record: show it again in full."""

    response_id: str


@dataclass(frozen=True, slots=True)
class RepairNeeded:
    """Something is missing; feed history, a record, or give up."""

    response_id: str


ReaderEvent = Started | Appended | GapSeen | Stopped | Replaced | RepairNeeded
