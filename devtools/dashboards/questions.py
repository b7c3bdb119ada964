"""A dashboard's questions, asked as Grafana would ask them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from devtools.dashboards.boards import Json, panels
from devtools.dashboards.prometheus import Prometheus, Series

RATE_WINDOW = "15s"


@dataclass(frozen=True, slots=True)
class Span:
    """From when to when (Unix time), and how far apart points are, in seconds."""

    start: float
    end: float
    step: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What one query of a panel got."""

    legend: str
    series: Sequence[Series]

    @property
    def has_numbers(self) -> bool:
        return any(series.points for series in self.series)

    def name(self, series: Series) -> str:
        """Returns the legend of one of the series."""
        return re.sub(r"\{\{(\w+)\}\}", lambda found: series.labels.get(found[1], ""), self.legend).strip()


Answers = Mapping[int, Sequence[Answer]]
"""By panel id."""


def substituted(expr: str, jobs: Sequence[str]) -> str:
    """Every variable set to All: the jobs by name, the rest by `.*`."""
    values = {"$job": "|".join(jobs), "$namespace": ".*", "$pod": ".*", "$__rate_interval": RATE_WINDOW}
    for variable, value in values.items():
        expr = expr.replace(variable, value)
    assert "$" not in expr, f"a variable nobody sets: {expr}"
    return expr


async def ask(prometheus: Prometheus, board: Json, span: Span) -> dict[int, list[Answer]]:
    jobs = (await choices(prometheus, board))["job"]
    return {
        panel["id"]: [
            Answer(
                target["legendFormat"],
                await prometheus.range(substituted(target["expr"], jobs), span.start, span.end, span.step),
            )
            for target in panel["targets"]
        ]
        for panel in panels(board)
    }


async def choices(prometheus: Prometheus, board: Json) -> dict[str, list[str]]:
    """What each variable offers."""
    offered: dict[str, list[str]] = {}
    for variable in board["templating"]["list"]:
        if variable["type"] != "query":
            continue
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
        assert found, variable
        selector = re.sub(r"\$(\w+)", lambda earlier: "|".join(offered[earlier[1]]), found[1])
        offered[variable["name"]] = await prometheus.label_values(found[2], selector)
    return offered


def unanswered(board: Json, answers: Answers) -> Iterator[str]:
    """Every query without a single number, and every name in a legend that no series has."""
    for panel in panels(board):
        for target, answer in zip(panel["targets"], answers[panel["id"]], strict=True):
            if not answer.has_numbers:
                yield f"{board['title']} / {panel['title']}: no data for {target['expr']}"
            for label in re.findall(r"\{\{(\w+)\}\}", answer.legend):
                if not any(series.labels.get(label) for series in answer.series):
                    yield f"{board['title']} / {panel['title']}: no series has the label {label} of the legend"
