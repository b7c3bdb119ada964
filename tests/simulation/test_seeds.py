"""A thousand seeds: whatever happens to relays, Kafka and the realtime service, readers see what was produced."""

import pytest

from processor.metrics import Metrics
from simulation.coverage import Coverage
from simulation.many import Tally, run_many, run_seed

# A crashed process is left where it stands: Python closes its coroutines, and those that would clean up complain.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SEEDS = 1_000


@pytest.mark.timeout(600)
def test_whatever_happens_readers_see_exactly_what_was_produced() -> None:
    total = Tally()
    for tally in run_many(0, SEEDS):
        total.add(tally)
    assert not total.failures, "\n".join(total.failures[:5])
    assert not total.coverage.missing(), f"never reached; all that was:\n{total.coverage.table()}"
    print(total.coverage.table())


def test_the_same_seed_gives_the_same_run() -> None:
    metrics = Metrics()
    for seed in range(5):
        outcomes = {run_seed(seed, metrics, Coverage()) for _ in range(2)}
        assert len(outcomes) == 1
