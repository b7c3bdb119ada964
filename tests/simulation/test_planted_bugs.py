"""The judges can fail: every planted bug is found within the seeds it says."""

import gc

import pytest

from simulation.many import seeds_until_found
from simulation.plants import PLANTS, Plant

# A crashed process is left where it stands: Python closes its coroutines, and those that would clean up complain.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name.replace(" ", "_"))
def test_a_relay_is_found_out_that(plant: Plant) -> None:
    found = seeds_until_found(plant.kit, plant.within)
    gc.collect()  # here, where their complaints are expected, and not in whatever test comes next
    assert found is not None
