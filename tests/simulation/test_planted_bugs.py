"""The judges can fail: every planted bug is found within the seeds it says."""

import gc

import pytest

from simulation.many import seeds_until_found
from simulation.plants import PLANTS, Plant
from simulation.plants_of_cancels import PLANTS as PLANTS_OF_CANCELS


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("plant", [*PLANTS, *PLANTS_OF_CANCELS], ids=lambda plant: plant.name.replace(" ", "_"))
def test_a_relay_is_found_out_that(plant: Plant) -> None:
    found = seeds_until_found(plant.kit, plant.within, plant.plan_of)
    gc.collect()  # what a run leaves behind complains here, and not in whatever test comes next
    assert found is not None
