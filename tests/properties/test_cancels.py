"""A cancelled response ends: by its producer's stop if the log has one in time, else by the relay, the same after every takeover."""

from random import Random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.core.limits import Limits
from processor.core.write_queue import Unwanted
from support.examples import examples
from support.world import LogRecord, World
from topics.records import Reason, Status

MS = 1_700_000_000_000
"""The time of every record of a World."""


def record(seq: int, response_id: str = "r0", **fields: object) -> bytes:
    return orjson.dumps({"event": "token", "responseId": response_id, "seq": seq, **fields})


def start(response_id: str = "r0", **fields: object) -> bytes:
    return orjson.dumps({"event": "start", "responseId": response_id, "seq": 0, "channel": "chat:0", **fields})


STOP = {"event": "stop", "reason": "stop"}
CANCELLED = {"event": "stop", "reason": "cancelled"}


def world_of(*values: bytes, cancel_timeout: float = 10, gap_timeout: float = 2) -> World:
    limits = Limits(gap_timeout=gap_timeout, idle_timeout=1e6, snapshot_interval=1, cancel_timeout=cancel_timeout)
    world = World(list(values), Random(1), limits)
    world.faulty = False
    return world


def append(world: World, *values: bytes) -> None:
    world.log += [LogRecord(len(world.log) + number, value) for number, value in enumerate(values)]


def stops(world: World) -> list[dict[str, object]]:
    return [orjson.loads(frame.data or "") for frame in world.published if frame.name == "stop"]


def test_without_a_stop_the_relay_ends_it_after_the_timeout() -> None:
    world = world_of(start(), record(1, text="a"))
    world.finish(1)
    world.cancel("r0", "chat:0")
    world.finish(8)
    assert stops(world) == []
    world.finish(4)
    (stop,) = stops(world)
    assert (stop["reason"], stop["status"], stop["error"]) == ("cancelled", "cancelled", None)
    final = world.records()["r0"]
    assert (final.status, final.reason, final.error, final.seq, final.text) == (
        Status.CANCELLED,
        "cancelled",
        None,
        2,
        "a",
    )
    assert world.pipeline.take_counts().cancels == {"forced": 1}


@pytest.mark.parametrize("crash", [False, True])
def test_tokens_after_that_are_dead_letters_and_repeats_are_not(crash: bool) -> None:
    world = world_of(start(), record(1, text="a"))
    world.finish(1)
    world.cancel("r0", "chat:0")
    world.finish(12)
    if crash:
        world.crash()
    append(world, record(1, text="a"), record(2, text="b"), record(3, text="c"), record(4, **CANCELLED))
    world.finish(5)
    assert world.dead == [(Reason.LATE, 3), (Reason.LATE, 4), (Reason.LATE, 5)]
    assert len(stops(world)) == 1


@pytest.mark.parametrize(("stop", "outcome"), [(CANCELLED, "honoured"), (STOP, "late")])
def test_a_stop_in_the_log_wins(stop: dict[str, str], outcome: str) -> None:
    world = world_of(start(), record(1, text="a"))
    world.finish(1)
    world.cancel("r0", "chat:0")
    world.finish(5)
    append(world, record(2, **stop))
    world.finish(20)
    (found,) = stops(world)
    assert found["reason"] == stop["reason"]
    counts = world.pipeline.take_counts()
    assert counts.cancels == {outcome: 1}
    assert len(counts.cancel_seconds) == (outcome == "honoured")


def test_a_stop_that_is_not_read_yet_wins() -> None:
    """The partition lags: nothing is decided before it is consumed to an end that was read after the deadline."""
    world = world_of(start(), record(1, text="a"))
    world.finish(1)
    world.cancel("r0", "chat:0")
    append(world, record(2, **CANCELLED))
    world.now += 60
    world.pump()
    world.finish(5)
    assert world.pipeline.take_counts().cancels == {"honoured": 1}


def test_a_stop_that_waits_behind_a_gap_wins() -> None:
    world = world_of(start(), record(1, text="a"), record(3, **CANCELLED), gap_timeout=60)
    world.finish(1)
    world.cancel("r0", "chat:0")
    world.finish(20)
    assert [frame.name for frame in world.published] == ["start", "token", "gap", "stop"]
    assert world.pipeline.take_counts().cancels == {"honoured": 1}


def test_with_a_gap_open_what_came_early_is_kept() -> None:
    world = world_of(start(), record(1, text="a"), record(3, text="c"), gap_timeout=60)
    world.finish(1)
    world.cancel("r0", "chat:0")
    world.finish(20)
    final = world.records()["r0"]
    assert (final.text, final.gaps, final.seq, final.reason) == ("ac", ((2, 2),), 4, "cancelled")


def test_a_start_after_its_cancel_has_the_timeout_from_the_start() -> None:
    world = world_of()
    world.cancel("r0", "chat:0", ts=MS - 59_000)
    world.now = 50
    append(world, start(), record(1, text="a"))
    world.finish(8)
    assert stops(world) == []
    world.finish(4)
    assert [stop["reason"] for stop in stops(world)] == ["cancelled"]


def test_a_start_long_after_its_cancel_is_another_matter() -> None:
    world = world_of()
    world.cancel("r0", "chat:0", ts=MS - 61_000)
    append(world, start(), record(1, text="a"))
    world.finish(3)
    world.crash()
    world.finish(100)
    assert stops(world) == []


@pytest.mark.parametrize(("before", "ends"), [(61_000, []), (59_000, ["cancelled"])])
def test_a_cancel_that_is_read_after_the_start_it_came_before_counts_from_a_minute_before(
    before: int, ends: list[str]
) -> None:
    """An owner that has just started reads the cancels of minutes, in no order with the tokens."""
    world = world_of(start(), record(1, text="a"))
    world.finish(1)
    world.cancel("r0", "chat:0", ts=MS - before, age=90.0)
    world.finish(15)
    assert [stop["reason"] for stop in stops(world)] == ends


def test_a_cancel_that_is_read_after_the_start_it_came_before_has_the_timeout_from_the_start() -> None:
    world = world_of(start(), record(1, text="a"))
    world.finish(1)
    world.cancel("r0", "chat:0", ts=MS - 29_000, age=30.0)
    world.finish(6)
    assert stops(world) == []
    world.finish(6)
    assert [stop["reason"] for stop in stops(world)] == ["cancelled"]


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("started", [False, True])
def test_a_second_cancel_counts_where_the_first_came_too_early(started: bool, crash: bool) -> None:
    """It may come before the start or after it, and the relay may have another owner by then."""
    world = world_of()
    world.cancel("r0", "chat:0", ts=MS - 100_000)
    if not started:
        world.cancel("r0", "chat:0", ts=MS - 59_000)
    append(world, start(), record(1, text="a"))
    world.finish(3)
    if started:
        assert stops(world) == []
        world.cancel("r0", "chat:0", ts=MS + 3_000)
    if crash:
        world.crash()
    world.finish(15)
    assert [stop["reason"] for stop in stops(world)] == ["cancelled"]
    assert world.pipeline.take_counts().cancels == {"forced": 1}


@pytest.mark.parametrize("crash", [False, True])
def test_a_further_cancel_does_not_delay_the_end(crash: bool) -> None:
    world = world_of(start(), record(1, text="a"))
    world.finish(1)
    world.cancel("r0", "chat:0", ts=MS + 1_000)
    world.finish(8)
    world.cancel("r0", "chat:0", ts=MS + 9_000)
    if crash:
        world.crash()
    world.finish(4)
    assert [stop["reason"] for stop in stops(world)] == ["cancelled"]


@pytest.mark.parametrize("first", [True, False])
def test_a_cancel_for_another_channel_has_no_effect(first: bool) -> None:
    world = world_of()
    if first:
        world.cancel("r0", "chat:other")
    append(world, start(), record(1, text="a"))
    world.finish(1)
    world.cancel("r0", "chat:other")
    world.finish(100)
    assert stops(world) == []
    world.cancel("r0", "chat:0")
    world.finish(15)
    assert len(stops(world)) == 1


def test_a_repeated_cancel_counts_once_and_one_after_the_end_is_late() -> None:
    world = world_of(start(), record(1, **CANCELLED))
    world.cancel("r0", "chat:0")
    world.cancel("r0", "chat:0")
    world.finish(5)
    world.cancel("r0", "chat:0", ts=MS + 1)
    assert world.pipeline.take_counts().cancels == {"honoured": 1}
    world.cancels = world.cancels.__class__(600)
    world.cancel("r0", "chat:0")
    counts = world.pipeline.take_counts()
    assert counts.cancels == {"late": 1}


def test_a_stop_that_is_read_before_its_cancel_is_honoured() -> None:
    world = world_of(start(), record(1, **CANCELLED))
    world.finish(3)
    world.cancel("r0", "chat:other")
    world.cancel("r0", "chat:0")
    counts = world.pipeline.take_counts()
    assert (counts.cancels, len(counts.cancel_seconds)) == ({"late": 1, "honoured": 1}, 1)


def test_before_kafka_is_back_nothing_is_decided() -> None:
    world = world_of(start(), record(1, text="a"))
    world.finish(1)
    world.cancel("r0", "chat:0")
    world.now += 9
    world.pipeline.unreachable(world.now)
    world.finish(8)
    assert stops(world) == []
    world.finish(5)
    assert len(stops(world)) == 1


def test_the_decision_is_durable_before_it_is_published() -> None:
    world = world_of(start(), record(1, text="a"))
    world.finish(1)
    world.cancel("r0", "chat:0")
    world.now += 11
    world.pump()
    world.pump()
    assert world.pipeline.wants_write
    assert world.pipeline.next_frame("chat:0", world.now) is None
    world.write_now()
    decided = world.records()["r0"]
    assert decided.relay["decided"] == {"end": {"reason": "cancelled", "seq": 2}}
    world.crash()
    append(world, record(2, text="b"))
    world.finish(5)
    assert [stop["reason"] for stop in stops(world)] == ["cancelled"]
    assert world.records()["r0"].text == "a"
    assert world.dead == [(Reason.LATE, 2)]


@settings(max_examples=examples(100))
@given(st.randoms(use_true_random=False), st.booleans(), st.sampled_from([None, "cancelled", "stop"]))
def test_whenever_it_comes_and_owners_crash_each_response_ends_once(
    random: Random, numbered: bool, reason: str | None
) -> None:
    fields = [{"event": "start", "channel": "chat:0"}, *({"event": "token", "text": f"{n} "} for n in range(1, 9))]
    if reason is not None:
        fields.append({"event": "stop", "reason": reason})
    values: list[bytes | None] = []
    for number, each in enumerate(fields):
        seq = {"seq": number} if numbered else {}
        values.append(orjson.dumps({"responseId": "r0", **seq, **each}))
    cut = random.randrange(len(values) + 1)
    limits = Limits(gap_timeout=2, idle_timeout=1e6, snapshot_interval=1, cancel_timeout=5)
    world = World(values[:cut], random, limits)
    cancel_at = random.randrange(60)
    for step in range(60):
        if step == cancel_at:
            world.cancel("r0", "chat:0")
        if random.random() < 0.2 and len(world.log) < len(values):
            append(world, values[len(world.log)] or b"")
        if random.random() < 0.05:
            world.crash()
        world.step()
    append(world, *(value or b"" for value in values[len(world.log) :]))
    world.faulty = False
    world.finish(60)
    final = world.records()["r0"]
    assert final.status.finished
    assert final.reason in {"cancelled", reason}
    assert [frame.name for frame in world.published].count("stop") == 1
    assert world.published[-1].name == "stop"
    shown = "".join(frame.data or "" for frame in world.published if frame.name == "token")
    assert shown == final.text
    late = [offset for why, offset in world.dead if why is Reason.LATE]
    assert final.tokens + len(set(late) & set(range(1, 9))) == 8, (
        "a token is shown or a dead letter, never both or neither"
    )


def test_of_what_the_relay_ends_by_itself_producers_are_told_once() -> None:
    limits = Limits(gap_timeout=2, idle_timeout=5, snapshot_interval=1, response=2000)
    world = World([start("idle"), start("full"), record(1, "full", text="x" * 3000)], Random(1), limits)
    world.faulty = False
    world.finish(30)
    assert sorted(world.unwanted, key=lambda each: each.response_id) == [
        Unwanted("full", "chat:0", "too_large"),
        Unwanted("idle", "chat:0", "abandoned"),
    ]


def test_of_a_response_whose_channel_refuses_producers_are_told() -> None:
    world = World([start(), record(1, text="a")], Random(1), Limits(idle_timeout=1e6))
    world.faulty = False
    world.refusing = frozenset({"chat:0"})
    world.finish(5)
    assert world.unwanted == [Unwanted("r0", "chat:0", "unpublishable")]


def test_a_successor_tells_what_its_predecessor_decided_and_may_not_have_told() -> None:
    world = world_of(start(), record(1, text="a"))
    world.limits = Limits(gap_timeout=2, idle_timeout=5, snapshot_interval=1)
    world.start()
    world.finish(4)
    world.now += 10
    world.pump()
    world.pump()
    world.write_now()
    assert world.unwanted == [Unwanted("r0", "chat:0", "abandoned")]
    world.crash()
    world.finish(5)
    assert world.unwanted == [Unwanted("r0", "chat:0", "abandoned")] * 2


def test_producers_are_told_nothing_of_ends_they_or_cancels_made() -> None:
    world = world_of(start("a"), record(1, "a", **STOP), start("b"), record(1, "b", text="x"))
    world.cancel("b", "chat:0")
    world.finish(30)
    assert world.unwanted == []
