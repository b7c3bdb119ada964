"""Derives files from values.yaml and from files outside the chart: each path with the text that it should have."""

from collections.abc import Iterator
from pathlib import Path

from deploy.chart.schema import rendered, schema_of
from deploy.chart.values import CHART, read_values
from processor.config.settings import Settings

DEPLOY = CHART.parents[1] / "deploy"


def wanted() -> Iterator[tuple[Path, str]]:
    values = read_values()
    meanings = {row.name: row.meaning for row in Settings.describe()}
    settings = [(name, meanings.get(name, "Accepted; nothing reads it")) for name in Settings.names()]
    yield CHART / "values.schema.json", rendered(schema_of(values, settings))
    yield CHART / "files" / "alerts.yaml", (DEPLOY / "prometheus" / "alerts.yaml").read_text()
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        yield CHART / "files" / "dashboards" / path.name, path.read_text()
