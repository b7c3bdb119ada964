"""The alerts: Prometheus' own tool accepts them, and each has a section in the runbook."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devtools.dashboards.boards import committed, panels
from processor.telemetry.metrics import Metrics
from support.dashboard_rules import known_series
from support.lab import ROOT

RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
CASES = ROOT / "deploy" / "prometheus" / "alerts_test.yaml"
RUNBOOK = ROOT / "docs" / "operations" / "runbook.md"
MONITORING = ROOT / "docs" / "operations" / "monitoring.md"
NAME = re.compile(r"\b(?:tokenstream|process)[_:][\w:]+")


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def promtool(*arguments: str, directory: Path = RULES.parent) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *arguments], cwd=directory, check=False, capture_output=True, text=True, timeout=100
    )


def sections(text: str) -> dict[str, str]:
    """Returns the text under each heading of the third level."""
    parts = re.split(r"^### (\S+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_prometheus_accepts_the_rules() -> None:
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES.name)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_fires_when_it_should_and_not_when_it_should_not() -> None:
    tested = promtool("test", "rules", CASES.name)
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("tokenstream_oldest_unsent_seconds) > 60", "tokenstream_oldest_unsent_seconds) > 6000"),
        ("tokenstream_oldest_unsent_seconds) > 60", "tokenstream_oldest_unsent_seconds) > 40"),
    ],
    ids=["that does not fire", "that fires too soon"],
)
def test_the_cases_find_an_alert(tmp_path: Path, right: str, wrong: str) -> None:
    text = RULES.read_text()
    assert text.count(right) == 1
    (tmp_path / RULES.name).write_text(text.replace(right, wrong))
    cases = yaml.safe_load(CASES.read_text())
    cases["tests"] = [case for case in cases["tests"] if "partition's tokens don't get out" in case["name"]]
    (tmp_path / CASES.name).write_text(yaml.safe_dump(cases))
    tested = promtool("test", "rules", CASES.name, directory=tmp_path)
    assert tested.returncode == 1
    assert "TokenstreamPartitionStuck" in tested.stdout + tested.stderr


def expected_to_fire() -> Iterator[str]:
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        for expectation in case["promql_expr_test"]:
            for sample in expectation.get("exp_samples", []):
                yield from re.findall(r'alertname="(\w+)"', sample["labels"])


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    assert set(expected_to_fire()) == set(alerts())


def test_cases_look_at_all_alerts_at_once() -> None:
    """So that each case is one in which every alert it does not name stays silent."""
    whole = {
        'ALERTS{alertstate="firing"}',
        'count by (alertname) (ALERTS{alertstate="firing"})',
        'count by (alertname, job) (ALERTS{alertstate="firing"})',
    }
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        asked = {expectation["expr"] for expectation in case["promql_expr_test"]}
        assert asked & whole, case["name"]
        assert all(expr in whole for expr in asked if "ALERTS" in expr), case["name"]


@pytest.mark.parametrize("name", sorted(alerts()))
def test_an_alert_says_what_it_is_about_and_where_to_read_on(name: str) -> None:
    alert = alerts()[name]
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert {"summary", "description", "runbook_url"} == alert["annotations"].keys()
    assert "{{ $" in alert["annotations"]["description"] or name == "TokenstreamNoRelay"
    file, anchor = alert["annotations"]["runbook_url"].split("#")
    assert (ROOT / file) == RUNBOOK
    assert anchor == name.lower()
    section = sections(RUNBOOK.read_text())[name]
    for part in ("**Means**: ", "**Look**: ", "**Do**: "):
        assert part in section, f"{name}: the runbook lacks {part}"


def test_the_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    found = {name for name in sections(RUNBOOK.read_text()) if name.startswith("Tokenstream")}
    assert found == set(alerts())


def test_rules_name_only_what_is_exposed_or_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    named = {name for rule in rules() for name in NAME.findall(rule["expr"])}
    assert named - known_series() - recorded == set()
    assert recorded - named == set(), "recorded for nobody"


def test_the_tool_is_there() -> None:
    assert shutil.which("promtool"), "install the Debian package `prometheus`, or run .ci/prerequisites"
    assert shutil.which("prometheus")


def test_objectives_are_bounds_of_the_histograms_as_a_scrape_writes_them() -> None:
    """A bound that no bucket has would be no error to Prometheus: the alert would just never fire."""
    scrape = Metrics().render("")[0].decode()
    asked = {
        found for rule in rules() for found in re.findall(r'(tokenstream_\w+_bucket)\{le="([\d.]+)"\}', rule["expr"])
    }
    assert asked == {("tokenstream_delivery_seconds_bucket", "0.5"), ("tokenstream_first_token_seconds_bucket", "2.5")}
    for name, bound in asked:
        assert f'{name}{{le="{bound}"}}' in scrape


def test_the_overview_turns_red_where_the_objectives_are() -> None:
    reds = {
        panel["title"]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]
        for panel in panels(committed()["overview.json"])
    }
    assert reds["Delivery, p99"] == {"color": "red", "value": 0.5}
    assert reds["First token, p95"] == {"color": "red", "value": 2.5}
    for said in ("99 % of frames are acknowledged within 0.5 s", "95 % of first tokens are"):
        assert said in MONITORING.read_text()
