"""What is written from values.yaml and from files outside the chart: each path with the text it should hold."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from deploy.chart.schema import rendered, schema_of
from deploy.chart.values import CHART, Value, read_values
from processor.config.settings import Settings

DEPLOY = CHART.parents[1] / "deploy"
_BEGIN, _END = "<!-- values: made by `make chart-documents` -->\n", "<!-- end of values -->"


def wanted() -> Iterator[tuple[Path, str]]:
    values = read_values()
    readme = CHART / "README.md"
    yield readme, with_table(readme.read_text(), values)
    settings = [(row.name, row.meaning) for row in Settings.describe()]
    yield CHART / "values.schema.json", rendered(schema_of(values, settings))
    yield CHART / "files" / "alerts.yaml", (DEPLOY / "prometheus" / "alerts.yaml").read_text()
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        yield CHART / "files" / "dashboards" / path.name, path.read_text()


def with_table(readme: str, values: Iterable[Value]) -> str:
    before, _, rest = readme.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}{table(values)}{_END}{after}"


def table(values: Iterable[Value]) -> str:
    rows = [f"| `{value.name}` | `{json.dumps(value.default)}` | {value.description} |" for value in values]
    return "\n".join(["| value | default | meaning |", "|---|---|---|", *rows, ""])
