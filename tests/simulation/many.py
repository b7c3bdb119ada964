"""Many seeds, in some processes; and one failing seed made small."""

import gc
import multiprocessing
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from processor.telemetry.metrics import Metrics
from simulation.coverage import Coverage
from simulation.plan import Plan, make_plan
from simulation.run import Outcome, run
from simulation.unusual import add_unusual
from support.garbage import keep_what_is_imported

CHUNK = 25


@dataclass(slots=True)
class Tally:
    seeds: int = 0
    steps: int = 0
    slowest: float = 0.0
    """Virtual seconds until all was finished, at most."""
    failures: list[str] = field(default_factory=list)
    coverage: Coverage = field(default_factory=Coverage)

    def add(self, other: "Tally") -> None:
        self.seeds += other.seeds
        self.steps += other.steps
        self.slowest = max(self.slowest, other.slowest)
        self.failures += other.failures
        self.coverage.add(other.coverage)


@dataclass(frozen=True, slots=True)
class Smaller:
    """What was left out of a plan that fails without it too."""

    faults: frozenset[int] = frozenset()
    responses: frozenset[int] = frozenset()

    def command(self, seed: int) -> str:
        said = f"cd tests && python -m simulation --first {seed} --seeds 1"
        for name, indexes in (("faults", self.faults), ("responses", self.responses)):
            if indexes:
                said += f" --without-{name} {','.join(map(str, sorted(indexes)))}"
        return said


def plan_of_seed(seed: int) -> Plan:
    return add_unusual(make_plan(seed))


def run_seed(seed: int, metrics: Metrics, coverage: Coverage, smaller: Smaller | None = None) -> Outcome:
    left_out = smaller or Smaller()
    plan = plan_of_seed(seed).without(faults=left_out.faults, responses=left_out.responses)
    return run(plan, metrics=metrics, coverage=coverage)


def shrink(seed: int, metrics: Metrics) -> Smaller:
    """Leave out faults and responses, one by one, for as long as it still fails."""

    def fails(candidate: Smaller) -> bool:
        return run_seed(seed, metrics, Coverage(), candidate).failure is not None

    plan, found = plan_of_seed(seed), Smaller()
    for index in range(len(plan.responses)):
        candidate = Smaller(found.faults, found.responses | {index})
        found = candidate if fails(candidate) else found
    for index in range(len(plan.faults)):
        candidate = Smaller(found.faults | {index}, found.responses)
        found = candidate if fails(candidate) else found
    return found


def run_chunk(first: int, count: int) -> Tally:
    tally, metrics = Tally(), Metrics()
    for seed in range(first, first + count):
        outcome = run_seed(seed, metrics, tally.coverage)
        tally.seeds += 1
        tally.steps += outcome.steps
        tally.slowest = max(tally.slowest, outcome.finished_at)
        if outcome.failure is not None:
            smaller = shrink(seed, metrics) if not tally.failures else Smaller()
            tally.failures.append(f"seed {seed}: {outcome.failure}\n    {smaller.command(seed)}")
    gc.collect()  # coroutines left behind complain when they are collected
    return tally


def _prepare() -> None:
    """What Python warns of is an error: it fails a run, or is written to standard error."""
    keep_what_is_imported()
    warnings.simplefilter("error")


def run_many(first: int, count: int, jobs: int | None = None) -> Iterator[Tally]:
    """A tally after every chunk, in order."""
    starts = range(first, first + count, CHUNK)
    counts = [min(CHUNK, first + count - start) for start in starts]
    workers = jobs or min(2, os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _prepare) as pool:
        yield from pool.map(run_chunk, starts, counts)
