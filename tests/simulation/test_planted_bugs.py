"""The judges can fail: every planted bug is found within its stated number of seeds, or by its scenario.

`make test` runs of a bug that may take hundreds of seeds the one that finds it; `make test-all` looks for it from seed 0.
"""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from simulation.planted import ALL, found_by, source_of, with_bug
from simulation.plants import Plant

TESTS = Path(__file__).parents[1]
RARE = [plant for plant in ALL if plant.seed is not None]
"""Bugs whose one seed `make test` runs, and which `make test-all` alone looks for."""


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


def look_for(plant: Plant, planting: subprocess.Popen[str], first: int, count: int) -> str:
    """Returns what the runs of `count` seeds wrote; its end is `exit 0` where one of them found the bug."""
    assert planting.stdin is not None
    assert planting.stdout is not None
    planting.stdin.write(f"{first} {count} {plant.name}\n")
    planting.stdin.flush()
    written = ""
    for line in iter(planting.stdout.readline, ""):
        written += line
        if line.startswith("exit "):
            break
    return written


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize(
    "plant", [pytest.param(each, marks=pytest.mark.long) if each in RARE else each for each in ALL], ids=name_of
)
def test_a_relay_is_found_out_that(planting: subprocess.Popen[str], plant: Plant) -> None:
    written = look_for(plant, planting, 0, plant.within)
    assert written.endswith("exit 0\n"), written


@pytest.mark.parametrize("plant", RARE, ids=name_of)
def test_one_seed_finds_out_a_relay_that(planting: subprocess.Popen[str], plant: Plant) -> None:
    assert plant.seed is not None
    written = look_for(plant, planting, plant.seed, 1)
    again = f"To look for another seed: cd tests && python -m simulation.planted {shlex.quote(plant.name)}"
    assert written.endswith("exit 0\n"), written + again


def test_without_its_bug_no_such_seed_finds_anything() -> None:
    for plant in RARE:
        assert plant.seed is not None
        assert found_by(plant, plant.seed, 1) is None, plant.name
