"""What follows from the chart's values: their table, their schema, and the copies of files that live elsewhere."""

import json
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from deploy.chart import documents
from deploy.chart.schema import NEVER_PLAIN, SECRET
from deploy.chart.values import CHART, Undocumented, read_values
from processor.config.settings import Settings

CASES = sorted((Path(__file__).parent / "values").glob("*.yaml"))
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def test_the_chart_holds_no_dashboard_that_is_gone() -> None:
    ours = {path.name for path in (CHART / "files" / "dashboards").glob("*")}
    assert ours == {path.name for path in (documents.DEPLOY / "grafana" / "dashboards").glob("*.json")}


def test_a_value_without_a_comment_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("# -- Explained\nknown: 1\nsection:\n  unknown: 2\n")
    with pytest.raises(Undocumented, match=r"section\.unknown"):
        read_values(path)


def test_the_schema_is_one_and_takes_the_defaults() -> None:
    jsonschema_rs.meta.validate(SCHEMA)
    jsonschema_rs.validate(SCHEMA, yaml.safe_load((CHART / "values.yaml").read_text()))


def test_everything_in_the_schema_is_described() -> None:
    def bare(name: str, schema: dict[str, object]) -> list[str]:
        below = schema.get("properties")
        found = [] if schema.get("description") or below else [name]
        if isinstance(below, dict):
            for key, inner in below.items():
                found += bare(f"{name}.{key}", inner)
        return found

    assert bare("", SCHEMA) == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_the_schema_takes_what_the_tests_install(case: Path) -> None:
    jsonschema_rs.validate(SCHEMA, yaml.safe_load(case.read_text()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"modee": "sidecar"},
        {"mode": "daemonset"},
        {"relay": {"replicas": "two"}},
        {"relay": {"hpa": {"cpuPercent": 700}}},
        {"settings": {"DRAIN_TIMOUT": 20}},
        {"settings": {"ABLY_KEY": "app.key:secret"}},
        {"settings": {"STORE_URL": "postgresql://user:password@host/db"}},
        {"secrets": {"ABLY_KEY": {"key": "ably-key"}}},
        {"secrets": {"ABLY_KEY": "app.key:secret"}},
        {"secrets": {"LOG_LEVEL": {"name": "x"}}},
        {"image": {"digest": "latest"}},
        {"monitoring": {"podMonitor": {"interval": "often"}}},
    ],
    ids=json.dumps,
)
def test_the_schema_refuses(wrong: dict[str, object]) -> None:
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(SCHEMA, wrong)


def test_settings_that_hold_secrets_are_those_the_program_hides() -> None:
    """The chart must know a new secret setting, or people would write it into values."""
    hidden = {
        name.upper()
        for name, field in Settings.model_fields.items()
        if field.description and ("Secret" in str(field.annotation) or not field.repr)
    }
    assert hidden - {"STORE_URL"} == set(NEVER_PLAIN)
    assert hidden <= set(SECRET)
