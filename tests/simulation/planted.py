"""`python -m simulation.planted NAME`: runs the seeds, or the scenario, of a planted bug. Exits with 0 where it is found.

Each bug needs a process of its own: it is written into the source during its import, and nothing else is changed.
Without a name it reads lines `FIRST COUNT NAME` from standard input, runs as many seeds of each in a fork of itself, and
then writes `exit` and the exit code.
It has imported the libraries by then, which takes longer than most bugs do.
"""

import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from random import Random
from types import CodeType, ModuleType

from simulation.plants import PLANTS, Plant
from simulation.plants_of_cancels import PLANTS as PLANTS_OF_CANCELS
from support.garbage import keep_what_is_imported

ALL = (*PLANTS, *PLANTS_OF_CANCELS)
LIBRARIES = (
    *("ably", "aiokafka.admin", "faust.app", "faust.transport.drivers.aiokafka"),
    *("msgspec.json", "multiprocessing.queues", "opentelemetry.trace", "prometheus_client.core"),
    *("pydantic_settings", "structlog"),
)


def source_of(plant: Plant) -> str:
    """The text that the plant's module has without it."""
    spec = importlib.util.find_spec(plant.module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text()


def with_bug(plant: Plant, source: str) -> str:
    """Raises AssertionError where the source has another text by now."""
    for text, wrong in plant.edits:
        assert text in source, f"{plant.module} does not have this any more, write the bug {plant.name!r} anew:\n{text}"
        source = source.replace(text, wrong)
    return source


def module_with(plant: Plant) -> ModuleType:
    """Returns a module of its own, made of the text with the bug. Importers get the right one as before."""
    module = ModuleType(plant.module)
    exec(compile(with_bug(plant, source_of(plant)), plant.module, "exec"), vars(module))
    return module


class WrongLoader(SourceFileLoader):
    def __init__(self, plant: Plant, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self._plant = plant

    def get_code(self, fullname: str) -> CodeType:
        """Never from a cache."""
        path = self.get_filename(fullname)
        return compile(with_bug(self._plant, Path(path).read_text()), path, "exec")


class WrongFinder(MetaPathFinder):
    def __init__(self, plant: Plant) -> None:
        self._plant = plant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._plant.module:
            return None
        found = PathFinder.find_spec(fullname, path, target)
        assert found is not None
        assert found.origin is not None
        loader = WrongLoader(self._plant, fullname, found.origin)
        return importlib.util.spec_from_file_location(fullname, found.origin, loader=loader)


def plant(bug: Plant) -> None:
    """From now on the bug's module is imported with it."""
    assert bug.module not in sys.modules, "it was imported without the bug"
    sys.meta_path.insert(0, WrongFinder(bug))


def found_by(bug: Plant, first: int, count: int) -> int | None:
    """Returns the first of `count` seeds from `first` that finds the bug, or the number of its scenario's world; or None."""
    from processor.telemetry.metrics import Metrics
    from simulation.cancels import draw_cancels
    from simulation.coverage import Coverage
    from simulation.frozen import FOLDER, thaw
    from simulation.many import plan_of_seed
    from simulation.run import run

    metrics = Metrics()
    frozen = thaw((FOLDER / f"{bug.scenario}.json").read_text()) if bug.scenario is not None else None
    for number in range(first, first + count):
        plan = plan_of_seed(number) if frozen is None else replace(frozen, seed=frozen.seed + number)
        if bug.with_cancels:
            plan = draw_cancels(Random(f"cancels {number}"), plan)
        outcome = run(plan, metrics=metrics, coverage=Coverage())
        if outcome.failure is not None:
            print(f"{bug.name}: {outcome.failure}")
            return number
    return None


def main(name: str, first: int = 0, count: int | None = None) -> int:
    """Runs all seeds of the bug where there is no `count`. Returns the exit code."""
    (bug,) = [each for each in ALL if each.name == name]
    plant(bug)
    seeds = bug.within if count is None else count
    seed = found_by(bug, first, seeds)
    print(
        f"{bug.name}: not found by {seeds} seeds from {first}" if seed is None else f"{bug.name}: found by seed {seed}"
    )
    return 1 if seed is None else 0


def serve() -> None:
    for library in LIBRARIES:
        importlib.import_module(library)
    keep_what_is_imported()
    os.dup2(sys.stdout.fileno(), sys.stderr.fileno())
    for line in sys.stdin:
        first, count, name = line.strip().split(" ", 2)
        print("exit", in_a_fork(name, int(first), int(count)), flush=True)


def in_a_fork(name: str, first: int, count: int) -> int:
    """Returns the exit code. The fork itself never returns."""
    sys.stdout.flush()
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.exit(main(name, first, count))


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(main(sys.argv[1]))
    serve()
