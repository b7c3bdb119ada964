"""The result of a row, stored on disk between runs."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec


@dataclass(slots=True)
class Counts:
    """Of one program. `recovery` is in seconds: None is never, where it was measured. `peaks`: MiB by role."""

    tokens: int = 0
    responses: int = 0
    out_of_order: int = 0
    lost: int = 0
    repeated_as_published: int = 0
    repeated_for_reader: int = 0
    unfinished: int = 0
    recovery: float | None = None
    recovery_measured: bool = False
    peaks: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    restarts: int = 0
    """How often a process ended by itself and was started again."""

    def faultless(self, *, exact: bool) -> bool:
        wrong = self.out_of_order or self.lost or self.repeated_for_reader or self.unfinished or self.problems
        never = self.recovery_measured and self.recovery is None
        return not (wrong or never or (exact and self.repeated_as_published))


@dataclass(slots=True)
class Sample:
    """One second: MiB and uncommitted records, by program; `down` while the realtime service is away."""

    at: float
    down: bool
    memory: dict[str, float]
    lag: dict[str, int]


@dataclass(slots=True)
class Result:
    row: str
    date: str = ""
    seed: int = 0
    seconds: int = 0
    counts: dict[str, Counts] = field(default_factory=dict)
    """By program."""
    not_run: str | None = None
    happened: list[str] = field(default_factory=list)
    struck: dict[str, int] = field(default_factory=dict)
    interruptions: int = 0
    """How often a reader was disconnected, or notified that it may have missed something."""
    samples: list[Sample] = field(default_factory=list)

    def passes(self, *, exact: bool) -> bool:
        """Whether tokenstream did what the row asks; a row that was not run does not."""
        ours = self.counts.get("tokenstream")
        return ours is not None and ours.tokens > 0 and ours.faultless(exact=exact)


def save(result: Result, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{result.row}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result)))


def load(row: str, directory: Path) -> Result | None:
    path = directory / f"{row}.json"
    return msgspec.json.decode(path.read_bytes(), type=Result) if path.exists() else None
