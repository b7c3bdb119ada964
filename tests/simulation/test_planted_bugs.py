"""The judges can fail: every planted bug is found within its stated number of seeds, or by its scenario."""

import subprocess
import sys
from pathlib import Path

import pytest

from simulation.planted import ALL, source_of, with_bug
from simulation.plants import Plant

TESTS = Path(__file__).parents[1]
every_plant = pytest.mark.parametrize("plant", ALL, ids=lambda plant: plant.name.replace(" ", "_"))


@every_plant
def test_the_product_has_the_text_that_is_replaced(plant: Plant) -> None:
    source = source_of(plant)
    wrong = with_bug(plant, source)
    assert wrong != source
    compile(wrong, plant.module, "exec")


@pytest.mark.timeout(1_200)
@every_plant
def test_a_relay_is_found_out_that(plant: Plant) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simulation.planted", plant.name],
        cwd=TESTS,
        env={"PYTHONPATH": str(TESTS.parent), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "found in run" in done.stdout
