"""Any interleaving, duplicates, order within the window, roll-up pace, parts and crashes: the reader's text is what was produced."""

import hashlib
from random import Random
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.core.framer import Frame
from processor.core.limits import Limits
from processor.core.text import utf16_length
from processor.core.write_queue import CommitPoint
from support.examples import examples
from support.world import World

TEXTS = ["", "a", "Hel", "lo ", "naïve", "日本", "👩‍👩‍👧", "\U0001f600", "line\n", '"q"\\', "\u0000x", "a" * 900]


def events(response_id: str, channel: str, parts: list[tuple[str, str]], *, unnumbered: bool) -> list[bytes]:
    raw: list[dict[str, Any]] = [
        {"event": "start", "responseId": response_id, "channel": channel, "metadata": {"m": 1}}
    ]
    raw += [
        {"event": "token", "responseId": response_id, "text": text, "part": part, "kind": part} for part, text in parts
    ]
    raw.append({"event": "stop", "responseId": response_id, "usage": {"n": len(parts)}})
    for seq, event in enumerate(raw):
        if not unnumbered:
            event["seq"] = seq
    return [orjson.dumps(event) for event in raw]


def shuffle_within(items: list[bytes], window: int, random: Random) -> list[bytes]:
    keyed = sorted(enumerate(items), key=lambda pair: pair[0] + random.random() * window)
    return [item for _, item in keyed]


@st.composite
def workloads(draw: st.DrawFn) -> tuple[list[bytes], dict[str, list[tuple[str, str]]], int]:
    seed = draw(st.integers(0, 2**32))
    random = Random(seed)
    produced: dict[str, list[tuple[str, str]]] = {}
    streams: list[list[bytes]] = []
    for number in range(draw(st.integers(1, 4))):
        response_id = f"r{number}"
        parts = [
            (random.choice(("text", "text", "reasoning", "call_1")), random.choice(TEXTS))
            for _ in range(draw(st.integers(0, 25)))
        ]
        produced[response_id] = parts
        unnumbered = draw(st.booleans()) and draw(st.booleans())
        stream = events(response_id, f"chat:{number % 2}", parts, unnumbered=unnumbered)
        if not unnumbered:
            stream = shuffle_within(stream, draw(st.sampled_from((0, 3))), random)
            stream = [copy for value in stream for copy in [value] * (2 if random.random() < 0.1 else 1)]
        streams.append(stream)
    log: list[bytes] = []
    while any(streams):
        stream = random.choice([each for each in streams if each])
        log.append(stream.pop(0))
    return log, produced, seed


def texts_of(parts: list[tuple[str, str]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for part, text in parts:
        texts[part] = texts.get(part, "") + text
    return texts


def read(frames: list[Frame], response_id: str) -> tuple[dict[str, str], list[str]]:
    """A reader by the rules: the texts per part, and what went wrong."""
    texts: dict[str, str] = {}
    wrong: list[str] = []
    last, stops = -1, 0
    for frame in frames:
        if frame.response_id != response_id:
            continue
        seq, end = int(frame.headers["seq"]), int(frame.headers.get("seqEnd", frame.headers["seq"]))
        if seq > last + 1:
            wrong.append(f"loss before {frame.id}")
        if frame.name == "start" and last >= 0:
            continue
        if frame.name == "stop":
            stops += end > last
            data = orjson.loads(frame.data or "null")
            for part in data["parts"]:
                text = texts.get(part["part"], "")
                if part["length"] != utf16_length(text) or part["sha256"] != hashlib.sha256(text.encode()).hexdigest():
                    wrong.append(f"stop does not prove {part['part']}")
        if "offset" in frame.headers:
            part = frame.headers.get("part", "text")
            held = texts.get(part, "")
            offset, length = int(frame.headers["offset"]), utf16_length(held)
            if offset > length:
                wrong.append(f"hole before {frame.id}")
            data_utf16 = (frame.data or "").encode("utf-16-le")
            texts[part] = held + data_utf16[2 * (length - offset) :].decode("utf-16-le")
        last = max(last, end)
    if stops != 1:
        wrong.append(f"{stops} stops")
    return texts, wrong


def check(world: World, produced: dict[str, list[tuple[str, str]]]) -> None:
    records = world.records()
    for response_id, parts in produced.items():
        texts, wrong = read(world.published, response_id)
        assert not wrong, (response_id, wrong)
        expected = texts_of(parts)
        assert texts == expected
        record = records[response_id]
        assert record.finished
        assert {part.part: part.text for part in record.parts} == expected
        assert record.tokens == len(parts)
        assert record.seq == len(parts) + 1
        assert record.gaps == ()
    assert world.committed == len(world.log)
    assert not world.pipeline.status().open_responses


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


def test_committing_past_an_uncovered_record_is_found() -> None:
    """The check above can fail: a commit one too far loses what a crash leaves behind."""

    def plant(pipeline: Any) -> None:
        commit_point = pipeline.commit_point

        def too_far(*args: Any) -> CommitPoint:
            point = commit_point(*args)
            return CommitPoint(min(point.offset + 1, pipeline.position), point.restore)

        pipeline.commit_point = too_far

    assert found_within(60, plant)


def test_forgetting_the_order_of_a_roll_up_is_found() -> None:
    def plant(pipeline: Any) -> None:
        done = pipeline.done

        def swapped(frame: Frame, now: float) -> None:
            done(frame, now)
            for response in pipeline.open_responses.values():
                if len(response.queue) > 2 and not response.in_flight:
                    response.queue.reverse()

        pipeline.done = swapped

    assert found_within(60, plant)


def found_within(seeds: int, plant: Any) -> bool:
    for seed in range(seeds):
        random = Random(seed)
        parts = [("text", random.choice(TEXTS)) for _ in range(20)]
        log = events("r0", "chat:0", parts, unnumbered=False)
        world = World(list(log), random, Limits(gap_timeout=5, idle_timeout=20, snapshot_interval=0.1), plant=plant)
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
