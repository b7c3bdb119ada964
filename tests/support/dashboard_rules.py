"""What every dashboard must keep, checked on its JSON alone."""

import functools
import re
from collections import Counter
from collections.abc import Iterator

from devtools.dashboards.boards import Json, panels
from processor.telemetry.metrics import Metrics

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
VARIABLES = ("datasource", "job", "namespace", "pod")
SELECTED = 'job=~"$job",namespace=~"$namespace",pod=~"$pod"'
COLUMNS = 24
SERIES = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")
OURS = re.compile(r"\b(?:tokenstream|process|python)_\w+\b(?!\{)")


@functools.cache
def known_series() -> frozenset[str]:
    """Every name that a scrape of a process may show."""
    return frozenset(name for family in Metrics().registry.collect() for name in series_of(family.name, family.type))


def series_of(name: str, kind: str) -> tuple[str, ...]:
    match kind:
        case "counter":
            return (f"{name}_total",)
        case "histogram":
            return (f"{name}_bucket", f"{name}_sum", f"{name}_count")
        case _:
            return (name,)


def problems(board: Json) -> list[str]:
    """Each a sentence that names the panel; none where the dashboard is as it should be."""
    return [
        *of_the_board(board),
        *of_the_layout(board),
        *(told for panel in panels(board) for told in of_a_panel(panel)),
    ]


def of_the_board(board: Json) -> Iterator[str]:
    if not (board.get("uid") and board.get("title") and board.get("description") and board.get("tags")):
        yield "the dashboard lacks a uid, title, description or tag"
    names = tuple(variable["name"] for variable in board["templating"]["list"])
    if names != VARIABLES:
        yield f"the variables are {names}, not {VARIABLES}"
    for variable in board["templating"]["list"]:
        if variable["type"] == "query" and variable["datasource"] != DATASOURCE:
            yield f"variable {variable['name']} asks {variable['datasource']}"
        if variable["name"] in {"namespace", "pod"} and variable.get("allValue") != ".*":
            yield f"variable {variable['name']} leaves out series without that label"
        if variable["name"] == "job" and variable.get("allValue"):
            yield "variable job would take in every job's Python processes"


def of_the_layout(board: Json) -> Iterator[str]:
    for what in ("id", "title"):
        for value, count in Counter(panel[what] for panel in board["panels"]).items():
            if count > 1 or not value:
                yield f"{what} {value!r} stands on {count} panels"
    taken: Counter[tuple[int, int]] = Counter()
    for panel in board["panels"]:
        at = panel["gridPos"]
        if at["x"] + at["w"] > COLUMNS:
            yield f"{panel['title']}: reaches over the page's edge"
        taken.update((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"]))
    if any(count > 1 for count in taken.values()):
        yield "panels overlap"


def of_a_panel(panel: Json) -> Iterator[str]:
    title = panel["title"]
    defaults = panel["fieldConfig"]["defaults"]
    if len(panel.get("description", "")) < 20:
        yield f"{title}: no description"
    for setting in ("unit", "noValue", "thresholds"):
        if not defaults.get(setting):
            yield f"{title}: no {setting}"
    if panel["type"] == "timeseries" and not panel["options"]["legend"]["showLegend"]:
        yield f"{title}: no legend"
    if not panel["targets"]:
        yield f"{title}: asks nothing"
    for asked in (panel, *panel["targets"]):
        if asked["datasource"] != DATASOURCE:
            yield f"{title}: asks {asked['datasource']}"
    for target in panel["targets"]:
        if not target.get("legendFormat"):
            yield f"{title}: a query without a legend"
        yield from (f"{title}: {told}" for told in of_a_query(target["expr"]))


def of_a_query(expr: str) -> Iterator[str]:
    known = known_series()
    selections = SERIES.findall(expr)
    if not selections:
        yield f"no series in {expr!r}"
    for name, matchers in selections:
        if name not in known:
            yield f"no process exposes {name}"
        if not matchers.startswith(SELECTED):
            yield f"{name} is not selected by the dashboard's variables"
    for name in OURS.findall(expr):
        yield f"{name} is not selected by the dashboard's variables"
