"""The committed dashboards."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from deploy.grafana.generator.__main__ import boards
from deploy.grafana.generator.grafana import rendered
from deploy.grafana.generator.model import Board, Graph, Query, Row, Unit, arrange
from devtools.dashboards.boards import DASHBOARDS, committed, panels
from support.dashboard_rules import problems

NAMES = ("archive.json", "delivery.json", "overview.json", "process.json")


def test_the_committed_dashboards_are_those_of_the_generator() -> None:
    written = {path.name: path.read_text() for path in sorted(DASHBOARDS.iterdir())}
    made = {board.file_name: rendered(board) for board in boards()}
    assert tuple(written) == NAMES
    assert {name for name in made if made[name] != written[name]} == set(), "run `make dashboards` and commit"
    assert made.keys() == written.keys()


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_keeps_the_rules(name: str) -> None:
    assert problems(committed()[name]) == []


def test_no_two_dashboards_share_an_address() -> None:
    assert len({board["uid"] for board in committed().values()}) == len(NAMES)


def replace_expr(old: str, new: str) -> Callable[[dict[str, Any]], None]:
    def change(panel: dict[str, Any]) -> None:
        target = panel["targets"][0]
        assert old in target["expr"]
        target["expr"] = target["expr"].replace(old, new)

    return change


MISTAKES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a misspelt metric": (replace_expr("tokenstream_tokens_total", "tokenstream_token_total"), "no process exposes"),
    "a selection that ignores a variable": (replace_expr(',pod=~"$pod"', ""), "not selected"),
    "a series without any selection": (replace_expr("sum", "vector(tokenstream_ready) + sum"), "not selected"),
    "no unit": (lambda panel: panel["fieldConfig"]["defaults"].pop("unit"), "no unit"),
    "no look without data": (lambda panel: panel["fieldConfig"]["defaults"].pop("noValue"), "no noValue"),
    "no description": (lambda panel: panel.pop("description"), "no description"),
    "a datasource of its own": (lambda panel: panel["datasource"].update(uid="abc"), "asks {"),
    "no legend": (lambda panel: panel["targets"][0].pop("legendFormat"), "without a legend"),
    "an id twice": (lambda panel: panel.update(id=3), "stands on 2 panels"),
    "a title twice": (lambda panel: panel.update(title="Tokens out"), "stands on 2 panels"),
    "a panel over another": (lambda panel: panel["gridPos"].update(x=1), "overlap"),
    "a panel over the edge": (lambda panel: panel["gridPos"].update(x=22, y=900), "edge"),
}


@pytest.mark.parametrize(("mistake", "told"), MISTAKES.values(), ids=MISTAKES)
def test_the_rules_find_a_mistake(mistake: Callable[[dict[str, Any]], Any], told: str) -> None:
    board = copy.deepcopy(dict(committed()["overview.json"]))
    first = panels(board)[0]
    assert first["title"] == "Tokens in"
    mistake(first)  # type: ignore[arg-type]  # the copy is ours to damage
    found = problems(board)
    assert len(found) >= 1
    assert all(told in problem for problem in found), found


def test_a_panel_wider_than_the_page_is_refused() -> None:
    wide = Graph(title="t", description="d", unit=Unit.COUNT, no_value="n", queries=(Query("e", "l"),), width=25)
    with pytest.raises(ValueError, match="25 wide"):
        arrange(Board("u", "t", "d", (Row("r", (wide,)),)))


def test_a_line_of_panels_starts_below_the_tallest_of_the_line_before() -> None:
    def graph(width: int, height: int) -> Graph:
        return Graph(title="t", description="d", unit=Unit.COUNT, no_value="n", queries=(), width=width, height=height)

    placed = arrange(
        Board("u", "t", "d", (Row("r", (graph(12, 4), graph(12, 8), graph(8, 4))), Row("s", (graph(24, 1),))))
    )
    assert [(at.place.x, at.place.y) for at in placed] == [(0, 0), (0, 1), (12, 1), (0, 9), (0, 13), (0, 14)]
    assert [at.id for at in placed] == [1, 2, 3, 4, 5, 6]


def test_every_board_is_json_that_names_no_machine() -> None:
    for text in (path.read_text() for path in DASHBOARDS.iterdir()):
        assert json.loads(text)["editable"] is True
        assert "://" not in text
