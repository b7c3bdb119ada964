"""A thousand seeds, in `make test-all` four thousand: whatever happens to relays, Kafka and the realtime service, readers see what was produced."""

import asyncio

import pytest

from processor.telemetry.metrics import Metrics
from simulation.coverage import ENOUGH, MANY, Coverage
from simulation.loop import Node, Stuck, VirtualLoop
from simulation.many import Tally, run_many, run_seed


@pytest.mark.timeout(1_200)
@pytest.mark.parametrize(("first", "count"), [(0, ENOUGH), pytest.param(ENOUGH, MANY - ENOUGH, marks=pytest.mark.long)])
def test_whatever_happens_readers_see_exactly_what_was_produced(
    first: int, count: int, capfd: pytest.CaptureFixture[str]
) -> None:
    total = Tally()
    for tally in run_many(first, count):
        total.add(tally)
    assert not total.failures, "\n".join(total.failures[:5])
    assert capfd.readouterr() == ("", ""), "Python complains of what a run left behind"
    assert not total.coverage.missing(), f"never reached; all that was:\n{total.coverage.table()}"
    print(total.coverage.table())


def test_the_same_seed_gives_the_same_run() -> None:
    metrics = Metrics()
    for seed in range(5):
        outcomes = {run_seed(seed, metrics, Coverage()) for _ in range(2)}
        assert len(outcomes) == 1


def test_what_outlives_a_run_is_found() -> None:
    async def stay() -> None:
        while True:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                if over:
                    raise

    loop, over = VirtualLoop(), False  # type: ignore[abstract]  # it has what code without I/O asks for
    staying = loop.spawn(stay(), node := Node("zombie"))
    loop.run(loop.spawn(asyncio.sleep(2)))
    with pytest.raises(Stuck, match="outlive"):
        loop.bury(lambda: [node])
    over = True
    loop.bury(lambda: [node])
    assert staying.cancelled()
