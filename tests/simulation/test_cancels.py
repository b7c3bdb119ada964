"""What is drawn of cancels."""

from random import Random

from simulation.cancels import CANCEL_TIMEOUT, GOES_ON, TOO_EARLY, TWICE, draw_cancels
from simulation.plan import make_plan


def test_a_producer_that_obeys_stops_in_time() -> None:
    """Also where copies of its earlier records come late."""
    seen = 0
    for seed in range(300):
        plan = draw_cancels(Random(f"cancels {seed}"), make_plan(seed))
        for response in plan.responses:
            if "cancel_obeyed" not in response.perturbed:
                continue
            started = min(record.at for record in response.records if record.truth.event == "start")
            cancels = [cancel.at for cancel in plan.cancels if cancel.response_id == response.response_id]
            asked = min(at for at in cancels if at > started - TOO_EARLY[0])
            stopped = min(record.at for record in response.records if record.truth.event == "stop")
            assert stopped < max(asked, started) + CANCEL_TIMEOUT / 2, f"seed {seed}: {response.response_id}"
            seen += 1
    assert seen > 20


def test_a_producer_that_ignores_its_cancel_goes_on_for_long() -> None:
    """Also where the cancel comes after the last fault, and where the last one to begin is not the last one to end."""
    seen = 0
    for seed in range(1_000):
        plan = draw_cancels(Random(f"cancels {seed}"), make_plan(seed))
        for response in plan.responses:
            if "cancel_ignored" not in response.perturbed:
                continue
            asked = max(cancel.at for cancel in plan.cancels if cancel.response_id == response.response_id) - TWICE
            last = max(record.at for record in response.records)
            assert last > max([asked, *(fault.at + fault.length for fault in plan.faults)]) + GOES_ON, (
                f"seed {seed}: {response.response_id}"
            )
            seen += 1
    assert seen > 20
