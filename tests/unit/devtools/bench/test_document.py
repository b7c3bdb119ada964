import re
from pathlib import Path

import pytest

from devtools.bench.document import PLACE, SECTIONS, PageUnfit, fill
from devtools.bench.plots import PLOTS
from devtools.bench.results import Machine, Report, Result, merged
from devtools.bench.scenarios import SCENARIOS
from devtools.bench.targets import TARGETS
from devtools.cli_bench import SCENARIOS as LISTED

PAGE = Path(__file__).parents[4] / "docs" / "results" / "performance.md"
ALSO = {"against", "takeover-killed"}
"""Results that a scenario gives besides its own."""

MACHINE = Machine(
    processor="cpu", cores=2, memory_gib=4, system="Linux", python="3.11", kafka="Kafka", version="abc", load_before=0.1
)


def report(**rates: float) -> Report:
    results = []
    for scenario, rate in rates.items():
        result = Result(scenario=scenario, title=scenario, load="some load", seed=1)
        result.add("tokens a second", rate, "tokens/s")
        results.append(result)
    return Report(at="now", machine=MACHINE, results=results)


def page(name: str, old: str = "old\n") -> str:
    return f"before\n<!-- bench:{name} -->\n{old}<!-- /bench:{name} -->\nafter\n"


def test_only_what_stands_in_a_place_changes_and_filling_again_changes_nothing() -> None:
    once = fill(page("backlog"), report(backlog=123_456.0))
    assert once.startswith("before\n<!-- bench:backlog -->\n")
    assert once.endswith("<!-- /bench:backlog -->\nafter\n")
    assert "123,456 tokens/s" in once
    assert "old" not in once
    assert fill(once, report(backlog=123_456.0)) == once


def test_a_scenario_that_was_not_run_leaves_its_place_alone() -> None:
    assert fill(page("huge"), report(backlog=1.0)) == page("huge")


def test_a_page_without_a_place_is_refused() -> None:
    with pytest.raises(PageUnfit, match="no place"):
        fill("# nothing here\n", report(backlog=1.0))


def test_a_target_is_met_or_missed_with_its_reason_and_what_was_not_measured_says_so() -> None:
    met = fill(page("targets"), report(backlog=150_000.0))
    assert "| Backlog, required | at least 100,000 tokens/s | 150,000 tokens/s | met |" in met
    assert "| Backlog, desired | at least 250,000 tokens/s | 150,000 tokens/s | **missed** |" in met
    assert "- Backlog, desired: " in met
    assert "not measured" in met


def test_older_results_stay_until_their_scenario_runs_again() -> None:
    both = merged(report(backlog=1.0, huge=2.0), report(backlog=3.0))
    assert {result.scenario: result.get("tokens a second") for result in both.results} == {"backlog": 3.0, "huge": 2.0}


def test_every_place_of_the_page_has_something_that_fills_it_and_every_scenario_has_its_place() -> None:
    places = {found[2] for found in PLACE.finditer(PAGE.read_text())}
    assert places - SECTIONS.keys() - SCENARIOS.keys() - ALSO == set()
    assert SCENARIOS.keys() <= places


def test_every_plot_of_the_page_is_drawn_and_every_target_is_of_a_scenario() -> None:
    shown = set(re.findall(r"images/bench-([a-z-]+)\.svg", PAGE.read_text()))
    assert shown <= PLOTS.keys()
    assert {target.scenario for target in TARGETS} <= SCENARIOS.keys()


def test_the_command_line_lists_every_scenario() -> None:
    assert LISTED.keys() == SCENARIOS.keys()
