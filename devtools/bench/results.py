"""The result of a run, which is written as JSON, shown as a table and drawn."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import orjson

from processor.errors import Fatal


class Unsound(Fatal):
    """A run lost, repeated, reordered or left something, and has no figures. The message has the error."""


class Value(msgspec.Struct, frozen=True):
    """One figure. `unit` follows it: `tokens/s`, `ms`, `MiB`, `%`, `s`, or nothing."""

    name: str
    value: float
    unit: str = ""


class Series(msgspec.Struct, frozen=True):
    """A line of a plot: points of x and y."""

    name: str
    points: list[tuple[float, float]]


class Result(msgspec.Struct, kw_only=True):
    """One scenario. `load` describes what was produced; `seed` reproduces it."""

    scenario: str
    title: str
    load: str
    seed: int
    values: list[Value] = []
    series: list[Series] = []
    marks: list[tuple[str, float]] = []
    """Moments a plot shows, by name, in the seconds of its series."""

    def add(self, name: str, value: float, unit: str = "") -> None:
        self.values = [*self.values, Value(name, value, unit)]

    def get(self, name: str) -> float | None:
        return next((value.value for value in self.values if value.name == name), None)

    def line(self, name: str) -> list[tuple[float, float]]:
        return next((series.points for series in self.series if series.name == name), [])


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    kafka: str
    version: str
    load_before: float
    """The system's load average over a minute when the run began: above 1 the machine was not quiet."""


class Report(msgspec.Struct, kw_only=True):
    at: str
    machine: Machine
    results: list[Result]

    def find(self, scenario: str) -> Result | None:
        return next((result for result in self.results if result.scenario == scenario), None)


def this_machine(kafka: str) -> Machine:
    names = [line.partition(":")[2].strip() for line in _read("/proc/cpuinfo") if line.startswith("model name")]
    total = [int(line.split()[1]) for line in _read("/proc/meminfo") if line.startswith("MemTotal:")]
    return Machine(
        processor=names[0] if names else platform.processor() or platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib=round(total[0] / 2**20, 1) if total else 0.0,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        kafka=kafka,
        version=_version(),
        load_before=round(os.getloadavg()[0], 2),
    )


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def merged(before: Report | None, after: Report) -> Report:
    """The newer results, and of the older ones those of scenarios that were not run again."""
    if before is None:
        return after
    again = {result.scenario for result in after.results}
    kept = [result for result in before.results if result.scenario not in again]
    return Report(at=after.at, machine=after.machine, results=[*after.results, *kept])


def read_report(file: Path) -> Report | None:
    """None where there is no file. Raises Unsound where it is no report."""
    if not file.exists():
        return None
    try:
        return msgspec.json.decode(file.read_bytes(), type=Report)
    except msgspec.MsgspecError as error:
        raise Unsound(f"{file} is no report of `tokenstream bench`: {error}. Remove it, and run again.") from error


def write_report(file: Path, report: Report) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(orjson.dumps(_rounded(msgspec.to_builtins(report))) + b"\n")


def _rounded(value: object) -> object:
    """Rounds to the digits that a measurement supports."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: _rounded(inner) for name, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list | tuple) else value


def _read(file: str) -> list[str]:
    try:
        return Path(file).read_text().splitlines()
    except OSError:
        return []


def _version() -> str:
    here = Path(__file__).parent
    git = ["git", "-C", str(here), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
