"""Takeovers beside deletions, refusals, full memory and logs that lost their end: every record is accounted for, and nothing comes twice."""

import json
from random import Random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.core.limits import Limits
from support.examples import examples
from support.workloads import check, events, read, shuffle_within, workloads
from support.world import World
from topics.records import ResponseRecord, Status

Workload = tuple[list[bytes], dict[str, list[tuple[str, str]]], int]

common = settings(max_examples=examples(150), derandomize=True)
PATIENT = Limits(gap_timeout=1e6, idle_timeout=1e6, snapshot_interval=1)
FORGETFUL = Limits(gap_timeout=1e6, idle_timeout=1e6, snapshot_interval=1, finals=1, finished_ttl=0.5)
"""Knows nearly all ends by their ids alone."""


@common
@given(workloads(), st.integers(1, 60), st.sampled_from((PATIENT, FORGETFUL)), st.booleans())
def test_a_log_that_lost_its_end_is_published_once(
    workload: Workload, lost: int, limits: Limits, history: bool
) -> None:
    log, produced, seed = workload
    world = World(list(log), Random(seed), limits, ask_history=history)
    world.finish(10)
    frames, dead = len(world.published), list(world.dead)
    world.lose_end(min(lost, len(world.log)))
    for _ in range(60):
        world.step()
        if world.random.random() < 0.05:
            world.crash()
    world.finish(10)
    check(world, produced)
    assert len(world.published) == frames
    assert world.dead == dead


@common
@given(workloads(), st.sampled_from((PATIENT, FORGETFUL)), st.booleans())
def test_what_was_deleted_is_neither_published_again_nor_in_a_dead_letter(
    workload: Workload, limits: Limits, history: bool
) -> None:
    log, produced, seed = workload
    held = [
        orjson.dumps({"event": "start", "responseId": "held", "seq": 0, "channel": "held"}),
        orjson.dumps({"event": "stop", "responseId": "held", "seq": 1}),
    ]
    world = World([*held, *log], Random(seed), limits, ask_history=history)
    for _ in range(150):
        world.step()
        chance = world.random.random()
        if chance < 0.05:
            world.crash()
        elif chance < 0.1:
            world.delete()
    world.finish(10)
    check(world, produced)
    assert world.dead == []


def is_told(world: World, response_id: str, record: ResponseRecord) -> bool:
    """Whether each number that the log holds of the response is in its record or in a dead letter."""
    dead = {offset for _, offset in world.dead}
    made_by_relay = record.reason in {"abandoned", "too_large"}  # then the end's number is no record's
    told = set(range(record.seq + (not made_by_relay)))
    told -= {seq for first, last in record.gaps for seq in range(first, last + 1)}
    numbers: set[int] = set()
    for raw in world.log:
        fields = json.loads(raw.value or b"")
        if fields["responseId"] == response_id:
            numbers.add(fields["seq"])
            if raw.offset in dead:
                told.add(fields["seq"])
    return numbers <= told


@settings(common, max_examples=examples(500))
@given(st.integers(0, 2**32), st.booleans())
def test_every_token_of_a_refused_channel_is_in_the_record_or_a_dead_letter(seed: int, history: bool) -> None:
    random = Random(seed)
    streams = [
        shuffle_within(
            events(
                f"r{number}", f"chat:{number % 2}", [(random.choice(("text", "reasoning")), "x")] * 12, unnumbered=False
            ),
            random.choice((4, 12)),
            random,
        )
        for number in range(4)
    ]
    log: list[bytes | None] = []
    while any(streams):
        log.append(random.choice([each for each in streams if each]).pop(0))
    world = World(log, random, Limits(gap_timeout=1e6, idle_timeout=1e6, snapshot_interval=0.05), ask_history=history)
    for _ in range(120):
        world.step()
        if random.random() < 0.08:
            world.crash()
            if random.random() < 0.4:
                world.refusing = frozenset({"chat:0"})
    world.finish(10)
    records = world.records()
    for response_id, record in records.items():
        assert record.finished
        if record.reason == "unpublishable":
            assert is_told(world, response_id, record), response_id
    assert world.committed == len(world.log)
    assert not world.pipeline.status().open_responses


@settings(common, max_examples=examples(400))
@given(
    st.integers(0, 2**32), st.sampled_from((2_000, 6_000, 20_000, 80_000)), st.sampled_from(("right", "stale", "none"))
)
def test_readers_keep_what_they_saw_however_little_memory_an_owner_has(seed: int, buffered: int, history: str) -> None:
    random = Random(seed)
    streams = []
    for number in range(5):
        parts = [
            ("text", random.choice(("", "a", "日本", "b" * 900, "half \ud83d", "\ude00 whole"))) for _ in range(15)
        ]
        values = [
            orjson.dumps({"event": "start", "responseId": f"r{number}", "seq": 0, "channel": f"chat:{number % 3}"}),
            *(token(f"r{number}", seq, text) for seq, (_, text) in enumerate(parts, 1)),
            orjson.dumps({"event": "stop", "responseId": f"r{number}", "seq": len(parts) + 1}),
        ]
        streams.append(shuffle_within(values, random.choice((0, 3, 9)), random))
    log: list[bytes | None] = []
    while any(streams):
        log.append(random.choice([each for each in streams if each]).pop(0))
    limits = Limits(gap_timeout=1e6, idle_timeout=30, snapshot_interval=0.5, buffered=buffered)
    world = World(
        log, random, limits, ask_history=history != "none", stale_history=history == "stale", shares=(1, 4, 12)
    )
    for _ in range(150):
        world.step()
        if random.random() < 0.04:
            world.crash()
    world.finish()
    records = world.records()
    for response_id, record in records.items():
        if record.status is Status.STREAMING:
            raise AssertionError(f"{response_id} has no end")
        texts, wrong = read(world.published, response_id)
        assert not wrong, (response_id, wrong)
        assert {part.part: part.text for part in record.parts} == texts
        assert is_told(world, response_id, record), (response_id, seed, buffered)
    assert world.committed == len(world.log)
    assert not world.pipeline.status().open_responses


def token(response_id: str, seq: int, text: str) -> bytes:
    """With unpaired surrogates unchanged."""
    escaped = "".join(
        f"\\u{ord(character):04x}" if "\ud800" <= character <= "\udfff" else character for character in text
    )
    return f'{{"event":"token","responseId":"{response_id}","seq":{seq},"text":"{escaped}"}}'.encode()


def test_a_world_that_sends_after_the_end_is_found() -> None:
    world = World([*events("r0", "chat:0", [("text", "x")], unnumbered=False)], Random(1), PATIENT)
    world.finish(10)
    world.pipeline._write_queue.finished.__init__()  # type: ignore[misc]  # all that it knows is gone
    world.log += [type(world.log[0])(len(world.log) + at, raw.value) for at, raw in enumerate(world.log)]
    with pytest.raises(AssertionError, match="nothing is sent"):
        world.finish(10)
