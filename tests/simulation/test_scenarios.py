"""Scenarios that once failed: each is a plan of its own, whatever the seeds come to mean."""

from dataclasses import replace
from pathlib import Path

import pytest

from processor.telemetry.metrics import Metrics
from simulation.coverage import Coverage
from simulation.frozen import FOLDER, freeze, thaw
from simulation.log import Brokers
from simulation.loop import Node, VirtualLoop
from simulation.many import plan_of_seed
from simulation.run import run

WORLDS = 5
"""Chances of the world that a scenario is put through, beside those it failed with."""


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_a_scenario_that_failed_ends_well(path: Path) -> None:
    plan = thaw(path.read_text())
    for world in range(WORLDS):
        outcome = run(replace(plan, seed=plan.seed + world), metrics=Metrics(), coverage=Coverage())
        assert outcome.failure is None, f"world {world}: {outcome.failure}"


def test_a_run_is_judged_after_the_last_write() -> None:
    for seed in range(30):
        plan = plan_of_seed(seed)
        writes = [record.at for response in plan.responses for record in response.records]
        writes += [cancel.at for cancel in plan.cancels]
        outcome = run(plan, metrics=Metrics(), coverage=Coverage())
        assert outcome.finished_at > max(writes), f"seed {seed}"


def test_a_plan_is_the_same_when_it_was_text() -> None:
    for seed in range(50):
        plan = plan_of_seed(seed)
        assert thaw(freeze(plan)) == plan


def test_suspensions_that_overlap_turn_no_clock_back() -> None:
    loop, node = VirtualLoop(), Node("relay")  # type: ignore[abstract]  # it has what code without I/O asks for
    for now, turn in ((10.0, loop.suspend), (11.0, loop.suspend), (12.0, loop.thaw), (20.0, loop.thaw)):
        loop.now = now
        turn(node)
    assert node.suspended == 2.0


def test_what_producers_hold_back_over_two_outages_keeps_its_order() -> None:
    brokers = Brokers(VirtualLoop(), 1, lambda: 0)  # type: ignore[abstract]  # it has what code without I/O asks for
    came: list[int] = []
    brokers.leave()
    brokers.once_there(lambda: came.append(1))
    brokers.leave()
    brokers.once_there(lambda: came.append(2))
    brokers.come_back()
    brokers.once_there(lambda: came.append(3))
    assert came == []
    brokers.come_back()
    brokers.once_there(lambda: came.append(4))
    assert came == [1, 2, 3, 4]
