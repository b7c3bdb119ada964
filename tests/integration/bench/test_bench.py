"""The bench as people run it: small, on a real broker of its own."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from devtools.bench.model import Demand, messages_of
from devtools.bench.results import Report, Result, read_report
from devtools.bench.scenarios import SCENARIOS, Scene, Wanted
from devtools.children import without_settings
from devtools.kafka import LocalKafka

ROOT = Path(__file__).parents[3]
PAGE = "# Figures\n<!-- bench:targets -->\n<!-- /bench:targets -->\n"
SECONDS = 110

pytestmark = pytest.mark.timeout(SECONDS + 10)


def bench(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    given = {f"TOKENSTREAM_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "processor", "bench", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**without_settings(), **given},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def reported(file: Path) -> Report:
    report = read_report(file)
    assert report is not None
    return report


def test_a_small_backlog_gives_figures_a_plot_and_a_filled_page(tmp_path: Path) -> None:
    json, images, page = tmp_path / "figures.json", tmp_path / "images", tmp_path / "page.md"
    page.write_text(PAGE)
    small = ("--responses", "30", "--tokens", "40", "--partitions", "3", "--seed", "5")
    done = bench("backlog", *small, "--json", str(json), "--images", str(images), "--document", str(page))
    assert done.returncode == 0, done.stdout + done.stderr
    result = reported(json).find("backlog")
    assert result is not None
    assert result.seed == 5
    assert 30 * 40 <= (result.get("tokens") or 0) <= 30 * 48
    assert (result.get("tokens a second") or 0) > 0
    assert (result.get("tokens per frame") or 0) > 1
    assert "tokens a second" in done.stdout
    assert (images / "bench-throughput.svg").read_text().lstrip().startswith("<?xml")
    assert "| Backlog, required | at least 100,000 tokens/s | " in page.read_text()


async def measured(kafka: LocalKafka, directory: Path, scenario: str, **wanted: Any) -> Result:
    """The first result of a scenario, on a broker that tests share."""
    results = await SCENARIOS[scenario](Scene(kafka, directory, lambda _: None), Wanted(**wanted))
    return results[0]


async def test_tokens_that_cannot_share_a_message_have_one_each(kafka: LocalKafka, tmp_path: Path) -> None:
    result = await measured(kafka, tmp_path, "backlog", no_roll_up=True, responses=5, tokens=30, partitions=2, seed=11)
    assert result.scenario == "one-token"
    assert result.get("tokens per frame") == 1.0


async def test_messages_at_a_pace_are_what_the_model_estimates(kafka: LocalKafka, tmp_path: Path) -> None:
    # 4 responses of 40 tokens/s each, on channels that are allowed 25 messages/s.
    result = await measured(
        kafka, tmp_path, "limits", responses=4, open=4, channels=4, tokens=120, rate=160.0, partitions=2
    )
    tokens, per_frame = result.get("tokens"), result.get("tokens per frame")
    assert tokens is not None
    assert per_frame is not None
    demand = Demand(responses=4, tokens_per_second=40, tokens=round(tokens / 4), frames_per_second=25, round_trip=0.01)
    in_fact = tokens / per_frame / 4 + 2
    # A busy machine makes frames larger, and so fewer; a burst of the pace's own makes a few more.
    assert 0.4 * messages_of(demand) <= in_fact <= 1.2 * messages_of(demand)
    assert result.get("publishes refused") == 0


TINY: dict[str, dict[str, Any]] = {
    "steady": {"responses": 10, "open": 5, "tokens": 10, "rate": 100.0},
    "sweep": {"responses": 10, "tokens": 10, "rate": 100.0},
    "burst": {"responses": 10, "tokens": 10},
    "small": {"responses": 20},
    "huge": {"responses": 2, "tokens": 2_000},
    "hot-channel": {"responses": 10, "tokens": 20},
    "network": {"responses": 10, "open": 5, "tokens": 10, "rate": 100.0},
    "slow-store": {"responses": 10, "open": 5, "tokens": 10, "rate": 100.0},
    "scaling": {"responses": 10, "tokens": 20},
    "takeover": {"responses": 20, "open": 20, "rate": 40.0},
    "crash": {"responses": 10, "open": 10, "rate": 50.0, "tokens": 60},
    "cancel": {"responses": 5},
    "idle": {"responses": 20, "seconds": 1.0},
    "memory": {"responses": 100},
    "bridge": {"responses": 20},
    "direct": {"responses": 6, "open": 3, "tokens": 10, "rate": 60.0, "rounds": 2},
    "gateway": {"idle_readers": 20, "busy_readers": 10, "channels": 5, "seconds": 2.0},
    "ten-million": {"responses": 10, "tokens": 20},
}


@pytest.mark.long
@pytest.mark.parametrize("scenario", TINY)
async def test_every_scenario_gives_figures(kafka: LocalKafka, tmp_path: Path, scenario: str) -> None:
    result = await measured(kafka, tmp_path, scenario, partitions=2, seed=13, **TINY[scenario])
    assert len(result.values) >= 2
    assert all(value.value >= 0 for value in result.values if value.unit != "bytes")
    assert all(
        value.value > 0 for value in result.values if value.name.startswith(("tokens", "messages", "memory, idle"))
    )


def test_every_scenario_is_tried() -> None:
    """Except the one that needs a program which is built by hand."""
    assert TINY.keys() | {"backlog", "one-token", "limits", "peers"} == SCENARIOS.keys()


def test_a_run_that_does_not_deliver_all_of_it_gives_no_figures_says_what_is_missing_and_exits_with_1(
    tmp_path: Path,
) -> None:
    json = tmp_path / "figures.json"
    small = ("--responses", "2", "--tokens", "200", "--partitions", "1", "--seconds", "20")
    # The relay ends responses that would be larger than this, as failed.
    done = bench("backlog", *small, "--json", str(json), MAX_RESPONSE_BYTES="1500")
    assert done.returncode == 1, done.stdout
    assert "gives no figures" in done.stderr
    assert "uncommitted" in done.stderr
    assert "tokens a second" not in done.stdout
    assert not json.exists()
