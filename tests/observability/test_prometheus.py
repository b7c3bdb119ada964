"""Every question of every dashboard, asked of a real Prometheus that scrapes the real system."""

import asyncio
import copy
import struct
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from devtools.dashboards.boards import committed, panels
from devtools.dashboards.drawing import draw
from devtools.dashboards.observed import Seen, observe
from devtools.dashboards.questions import Answer, unanswered
from devtools.kafka import LocalKafka

pytestmark = pytest.mark.timeout(400)

SECONDS = 45.0
PLANTED = ("tokenstream_tokens_total", "tokenstream_token_total")


@pytest.fixture(scope="module")
def seen(kafka: LocalKafka) -> Seen:
    boards = dict(committed())
    misspelt = copy.deepcopy(boards["overview.json"])
    for panel in panels(misspelt):
        for target in panel["targets"]:
            target["expr"] = target["expr"].replace(*PLANTED)
    return asyncio.run(
        observe(kafka.bootstrap, boards | {"misspelt": misspelt}, seconds=SECONDS, prefix=f"t-{uuid.uuid4().hex[:8]}")
    )


@pytest.mark.parametrize("name", sorted(committed()))
def test_every_panel_of_a_dashboard_has_data(seen: Seen, name: str) -> None:
    assert list(unanswered(committed()[name], seen.answers[name])) == []


@pytest.mark.parametrize("name", sorted(committed()))
def test_every_distribution_has_observations(seen: Seen, name: str) -> None:
    """A rate of zero in every bucket would draw an empty panel."""
    heatmaps = [panel for panel in panels(committed()[name]) if panel["type"] == "heatmap"]
    empty = [panel["title"] for panel in heatmaps if not any_above_zero(seen.answers[name][panel["id"]])]
    assert empty == []


def any_above_zero(answers: Sequence[Answer]) -> bool:
    return any(value > 0 for answer in answers for series in answer.series for _, value in series.points)


def test_a_misspelt_metric_would_be_found(seen: Seen) -> None:
    found = list(unanswered(committed()["overview.json"], seen.answers["misspelt"]))
    assert [line.split(": no data")[0] for line in found] == [
        "tokenstream / Overview / Tokens in",
        "tokenstream / Overview / Tokens in and out",
    ]


def test_the_variables_offer_what_runs(seen: Seen) -> None:
    assert seen.choices == {
        "job": [f"tokenstream-{role}" for role in ("api", "archive", "bridge", "gateway", "relay")],
        "namespace": ["chat"],
        "pod": ["api-0", "archive-0", "bridge-0", "gateway-0", "relay-0", "relay-1"],
    }


def test_prometheus_evaluates_every_rule(seen: Seen) -> None:
    assert {rule["name"]: rule.get("lastError", "") for rule in seen.rules if rule["health"] != "ok"} == {}
    assert len(seen.rules) > 30


def test_alerts_noticed_what_was_wrong_and_nothing_else(seen: Seen) -> None:
    """The records that were wrong on purpose are noticed; the calm end is."""
    firing = {rule["name"] for rule in seen.rules if rule.get("state") == "firing"}
    assert "TokenstreamDeadLetters" in firing
    assert not firing & {
        "TokenstreamNoRelay",
        "TokenstreamNotReady",
        "TokenstreamProbeLoss",
        "TokenstreamArchiveBehind",
    }


def test_dashboards_can_be_drawn_from_the_answers(seen: Seen, tmp_path: Path) -> None:
    for name, board in committed().items():
        picture = tmp_path / f"{name}.png"
        draw(board, seen.answers[name], seen.span, picture)
        width, height = struct.unpack(">II", picture.read_bytes()[16:24])
        lines = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
        assert width > 1_600
        assert height > lines * 35
