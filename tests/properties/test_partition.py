"""Any interleaving, duplicates, order within the window, roll-up pace, parts and crashes: the reader's text is what was produced."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.core.limits import Limits
from processor.core.partition import PartitionPipeline
from simulation.planted import module_with
from simulation.plants import Plant
from support.examples import examples
from support.workloads import TEXTS, check, events, read, workloads
from support.world import World

common = settings(max_examples=examples(150), derandomize=True)


@common
@given(workloads())
def test_reader_sees_what_was_produced_whatever_the_order_pace_and_roll_up(
    workload: tuple[list[bytes], dict[str, list[tuple[str, str]]], int],
) -> None:
    log, produced, seed = workload
    world = World(list(log), Random(seed), Limits(gap_timeout=1e6, idle_timeout=1e6, snapshot_interval=1))
    while world.position < len(world.log):
        world.step_without_crash()
    world.finish(10)
    check(world, produced)
    assert world.dead == []
    once: set[tuple[str, str, str]] = set()
    for frame in world.published:
        key = (frame.response_id, frame.headers["seq"], frame.headers.get("offset", ""))
        assert key not in once or frame.data == "", "nothing is published twice without a crash"
        once.add(key)


@common
@given(workloads(), st.booleans(), st.sampled_from((50, 256 * 1024 * 1024)))
def test_crashes_lose_nothing_and_readers_see_nothing_twice(
    workload: tuple[list[bytes], dict[str, list[tuple[str, str]]], int], history: bool, transcript: int
) -> None:
    log, produced, seed = workload
    limits = Limits(gap_timeout=1e6, idle_timeout=1e6, snapshot_interval=1, transcript=transcript)
    world = World(list(log), Random(seed), limits, ask_history=history)
    for _ in range(150):
        world.step()
        if world.random.random() < 0.03:
            world.crash()
    world.finish(10)
    check(world, produced)


@common
@given(workloads())
def test_missing_records_are_announced_and_every_response_ends(
    workload: tuple[list[bytes], dict[str, list[tuple[str, str]]], int],
) -> None:
    log, produced, seed = workload
    kept = [value for value in log if Random(seed + len(value)).random() > 0.15 or b'"start"' in value]
    world = World(list(kept), Random(seed))
    for _ in range(100):
        world.step()
        if world.random.random() < 0.03:
            world.crash()
    world.finish()
    records = world.records()
    for response_id in produced:
        texts, wrong = read(world.published, response_id)
        assert not wrong, (response_id, wrong)
        record = records[response_id]
        assert record.finished
        assert {part.part: part.text for part in record.parts} == texts
        assert record.tokens + sum(last - first + 1 for first, last in record.gaps) >= record.seq - 1
    assert world.committed == len(world.log)


COMMIT_POINT = "self._write_queue.commit_point(batch, offsets, self._open.values(), self._intake.position)"
ONE_TOO_FAR = f"CommitPoint(min((point := {COMMIT_POINT}).offset + 1, self._intake.position), point.restore)"
DONE = "        self._outflow.done(frame, now)\n"
REVERSES = """        for response in self._open.values():
            if len(response.queue) > 2 and not response.in_flight:
                response.queue.reverse()
"""
BUGS = {
    "commits one too far": (COMMIT_POINT, ONE_TOO_FAR),
    "sends what waits in reverse": (DONE, DONE + REVERSES),
}


@pytest.mark.parametrize("bug", BUGS)
def test_the_check_finds(bug: str) -> None:
    plant = Plant(bug, 60, "processor.core.partition", (BUGS[bug],))
    assert found_within(plant.within, module_with(plant).PartitionPipeline)


def test_the_check_finds_nothing_without_a_bug() -> None:
    assert not found_within(5, PartitionPipeline)


def found_within(seeds: int, kind: type[PartitionPipeline]) -> bool:
    for seed in range(seeds):
        random = Random(seed)
        parts = [("text", random.choice(TEXTS)) for _ in range(20)]
        log = events("r0", "chat:0", parts, unnumbered=False)
        world = World(list(log), random, Limits(gap_timeout=5, idle_timeout=20, snapshot_interval=0.1), kind=kind)
        try:
            for _ in range(80):
                world.step()
                if random.random() < 0.1:
                    world.crash()
            world.finish()
            check(world, {"r0": parts})
        except (AssertionError, KeyError, IndexError, UnicodeDecodeError):
            return True
    return False
