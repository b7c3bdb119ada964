from pathlib import Path

import pytest

from devtools.bench.plots import PLOTS, draw
from devtools.bench.results import Machine, Report, Result, Series

MACHINE = Machine(
    processor="cpu", cores=2, memory_gib=4, system="Linux", python="3.11", kafka="Kafka", version="abc", load_before=0.1
)
NAMES = (
    *("tokens a second", "memory", "tokens per frame"),
    *("latency, p50", "latency, p99", "first token, p50", "first token, p99"),
)


def result(scenario: str) -> Result:
    points = [(1.0, 100.0), (2.0, 3_000.0), (4.0, 900.0)]
    one = Result(scenario=scenario, title=scenario, load="a load", seed=1, marks=[("killed", 1.5)])
    one.series = [Series(name, points) for name in NAMES]
    one.add("tokens a second", 3_000.0, "tokens/s")
    return one


def report(*scenarios: str) -> Report:
    return Report(at="now", machine=MACHINE, results=[result(scenario) for scenario in scenarios])


@pytest.mark.costly
def test_every_plot_is_drawn_from_its_scenarios(tmp_path: Path) -> None:
    scenarios = {scenario for needed, _ in PLOTS.values() for scenario in needed}
    written = draw(report(*sorted(scenarios)), tmp_path)
    assert {file.name for file in written} == {f"bench-{name}.svg" for name in PLOTS}


@pytest.mark.costly
def test_what_was_not_measured_is_not_drawn_and_drawing_again_changes_nothing(tmp_path: Path) -> None:
    written = draw(report("crash"), tmp_path)
    assert [file.name for file in written] == ["bench-recovery.svg"]
    before = written[0].read_text()
    draw(report("crash"), tmp_path)
    assert written[0].read_text() == before
    assert draw(report("idle"), tmp_path) == []
