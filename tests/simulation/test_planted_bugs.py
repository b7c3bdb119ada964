"""The judges can fail: every planted bug is found within its stated number of seeds, or by its scenario."""

import subprocess
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from simulation.planted import ALL, source_of, with_bug
from simulation.plants import Plant

TESTS = Path(__file__).parents[1]
RARE = 400
"""Runs. A bug that needs this number or more is left to `make test-all`."""


def name_of(plant: Plant) -> str:
    return plant.name.replace(" ", "_")


@pytest.mark.parametrize("plant", ALL, ids=name_of)
def test_the_product_has_the_text_that_is_replaced(plant: Plant) -> None:
    source = source_of(plant)
    wrong = with_bug(plant, source)
    assert wrong != source
    compile(wrong, plant.module, "exec")


@pytest.fixture(scope="module")
def planting() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "simulation.planted"],
        cwd=TESTS,
        env={"PYTHONPATH": str(TESTS.parent), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize(
    "plant", [pytest.param(each, marks=pytest.mark.long) if each.within >= RARE else each for each in ALL], ids=name_of
)
def test_a_relay_is_found_out_that(planting: subprocess.Popen[str], plant: Plant) -> None:
    assert planting.stdin is not None
    assert planting.stdout is not None
    planting.stdin.write(f"{plant.name}\n")
    planting.stdin.flush()
    written = list(takewhile(lambda line: not line.startswith("exit "), iter(planting.stdout.readline, "")))
    assert f"{plant.name}: found in run" in written[-1], "".join(written)
