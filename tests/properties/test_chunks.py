"""Responses in OpenAI's format beside others: however the relay crashes, readers see what a plain reading of the log gives."""

import json
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.core.chunks import ChunkFormat
from processor.core.limits import Limits
from support.examples import examples
from support.openai_feed import DONE, USAGE, Outcome, chat, chunk_of, delta, tool
from support.workloads import events, read
from support.world import LogRecord, World
from topics.openai import Format
from topics.openai_channel import ChannelTemplate
from topics.records import Reason, Status

LIMITS = Limits(gap_timeout=2, idle_timeout=60, snapshot_interval=0.5)
TEXT = 'Hi 👩‍👩‍👧 "日本"\n\U0001f600 né '
common = settings(max_examples=examples(150), derandomize=True)


def record(value: bytes | dict[str, Any], response_id: str, channel: str | None = None) -> LogRecord:
    headers = [("response-id", response_id.encode())]
    if channel is not None:
        headers.append(("channel", channel.encode()))
    given = value if isinstance(value, bytes) else json.dumps(value).encode()
    return LogRecord(0, given, b"k", headers=tuple(headers))


def pieces(text: str, random: Random) -> Iterator[str]:
    """The text, cut anywhere: in the middle of surrogate pairs, too."""
    units = text.encode("utf-16-le")
    while units:
        size = 2 * random.randint(1, 5)
        yield units[:size].decode("utf-16-le", "surrogatepass")
        units = units[size:]


def chunks(random: Random) -> list[bytes | dict[str, Any]]:
    """One response, as some server might send it."""
    choices = random.choice((1, 1, 1, 2, 3))
    every = random.random() < 0.2
    made: list[bytes | dict[str, Any]] = [chat(delta({"role": "assistant", "content": ""}), model="m")]
    for _ in range(random.randint(0, 4)):
        index = random.randrange(choices)
        kind = random.choice(("content", "content", "reasoning_content", "refusal", "call", "nothing"))
        if kind == "call":
            call_id = f"call_{len(made)}"
            late = random.random() < 0.5
            made.append(
                chat(delta({"tool_calls": [tool("", None if late else "f", index=len(made), id=call_id)]}, index))
            )
            label = len(made) - 1
            made += [
                chat(delta({"tool_calls": [tool(each, index=label)]}, index)) for each in pieces('{"a":"é"}', random)
            ]
            if late and random.random() < 0.7:
                made.append(chat(delta({"tool_calls": [tool("", "f", index=label)]}, index)))
        elif kind == "nothing":
            made.append(random.choice([chat(), {"id": "c1", "choices": None}, chat(delta({}, index))]))
        else:
            made += [chat(delta({kind: each}, index)) for each in pieces(TEXT[: random.randint(1, 14)], random)]
    if every:
        made = [{**each, "usage": USAGE} if isinstance(each, dict) else each for each in made]
    return made + ending(choices, random)


def ending(choices: int, random: Random) -> list[bytes | dict[str, Any]]:
    reason = random.choice(("stop", "length", "tool_calls", "EOS_TOKEN", "error"))
    finishes: list[bytes | dict[str, Any]] = [
        chat(delta({}, index, finish_reason=reason)) for index in random.sample(range(choices), choices)
    ]
    usage: list[bytes | dict[str, Any]] = [chat(usage=USAGE)]
    match random.choice(("whole", "no usage", "usage", "finish", "done", "error", "cut", "late")):
        case "whole":
            return [*finishes, *usage, DONE]
        case "no usage":
            return [*finishes, DONE]
        case "usage":
            return finishes + usage
        case "finish":
            return finishes
        case "done":
            return [DONE]
        case "error":
            return [{"error": {"code": 500, "message": "no memory"}}, DONE]
        case "late":
            return [*finishes, *usage, chat(delta({"content": "late"})), DONE]
        case _:
            return []


def expected(values: list[bytes | dict[str, Any]], response_id: str) -> Outcome:
    outcome = Outcome()
    for value in values:
        outcome.feed(chunk_of(value, response_id))
    if outcome.stop is None:
        outcome.wait()
    return outcome


@common
@given(st.integers(0, 2**32), st.booleans())
def test_no_crash_repeats_or_loses_a_token(seed: int, history: bool) -> None:
    random = Random(seed)
    responses = {f"r{number}": chunks(random) for number in range(random.randint(1, 4))}
    streams: list[list[Any]] = [
        [record(value, response_id, f"chat:{response_id}" if not at else None) for at, value in enumerate(values)]
        for response_id, values in responses.items()
    ]
    ours = [(random.choice(("text", "reasoning")), "x") for _ in range(8)]
    streams.append(list(events("ours", "chat:r0", ours, unnumbered=random.random() < 0.5)))
    log = []
    while any(streams):
        log.append(random.choice([each for each in streams if each]).pop(0))
    world = World(log, random, replace(LIMITS, snapshot_interval=random.choice((0.5, 3))), ask_history=history)
    for _ in range(120):
        world.step()
        if random.random() < 0.06:
            world.crash()
    world.finish()
    for response_id, values in responses.items():
        check(world, response_id, expected(values, response_id))
    assert world.committed == len(world.log)
    assert not world.pipeline.status().open_responses
    late = sum(expected(values, response_id).late for response_id, values in responses.items())
    assert {reason for reason, _ in world.dead} == ({Reason.LATE} if late else set())
    assert len({offset for _, offset in world.dead}) == late


def check(world: World, response_id: str, outcome: Outcome) -> None:
    texts, wrong = read(world.published, response_id)
    assert not wrong, (response_id, wrong)
    assert {part: text for part, text in texts.items() if text} == {
        part: text for part, text in outcome.parts.items() if text
    }
    kept = world.records()[response_id]
    assert kept.finished
    assert {part.part: part.text for part in kept.parts} == outcome.parts
    assert {part.part: part.info for part in kept.parts if part.info} == outcome.infos
    assert kept.seq == len(outcome.tokens) + 1
    assert "openai" not in kept.relay
    if outcome.stop is None:
        assert (kept.status, kept.reason) == (Status.ABANDONED, "abandoned")
        return
    assert (kept.reason, kept.usage, kept.error) == (outcome.reason, outcome.usage, outcome.error)
    (stop,) = {
        frame.id: frame for frame in world.published if (frame.response_id, frame.name) == (response_id, "stop")
    }.values()
    shown = orjson.loads(stop.data or "")
    assert (shown["reason"], shown["usage"], shown["error"]) == (outcome.reason, outcome.usage, outcome.error)


@settings(common, max_examples=examples(300))
@given(st.integers(0, 2**32))
def test_an_end_by_the_gap_timeout_holds_whatever_comes_after_it(seed: int) -> None:
    """The log grows while the relay runs, so that text may come before or after the end that it decides."""
    random = Random(seed)
    call = chat(delta({"tool_calls": [tool('{"a":\ud83d', index=0, id="c1"), tool("{}", index=1, id="c2")]}))
    finish = chat(delta({}, finish_reason="stop"))
    values: list[bytes | dict[str, Any]] = [
        body("Hi "),
        *random.choice(([call], [])),
        finish,
        body("more"),
        chat(usage=USAGE),
        body("late"),
        DONE,
    ]
    log = [record(value, "r1", "c") for value in values]
    world = World(log[:1], random, replace(LIMITS, gap_timeout=0.3, snapshot_interval=random.choice((0.2, 3))))
    for value in [replace(each, offset=at) for at, each in enumerate(log)][1:]:
        for _ in range(random.randint(1, 25)):
            world.step()
            if random.random() < 0.1:
                world.crash()
        world.log.append(value)
    world.finish()
    texts, wrong = read(world.published, "r1")
    assert not wrong
    kept = world.records()["r1"]
    assert {part.part: part.text for part in kept.parts} == texts
    assert (kept.status, kept.reason) == (Status.COMPLETE, "stop")
    late = {offset for reason, offset in world.dead if reason is Reason.LATE}
    assert texts["text"] in ("Hi ", "Hi more")
    assert (len(values) - 4 in late) == (texts["text"] == "Hi ")
    assert len(values) - 2 in late
    assert world.committed == len(world.log)


def run(*log: LogRecord | bytes, chunk_format: ChunkFormat = ChunkFormat(), limits: Limits = LIMITS) -> World:  # noqa: B008 - frozen
    world = World(log, Random(1), limits, chunk_format=chunk_format)
    world.finish()
    assert world.committed == len(world.log)
    return world


def body(text: str, **fields: Any) -> dict[str, Any]:
    return chat(delta({"content": text}), **fields)


def test_a_response_ends_by_the_gap_timeout_after_its_finish() -> None:
    world = run(
        record(body("Hi"), "r1", "c"),
        record(chat(delta({}, finish_reason="length")), "r1"),
        record(b"[DONE]", "r2", "c"),
    )
    assert (world.records()["r1"].reason, world.records()["r1"].status) == ("length", Status.COMPLETE)
    error = world.records()["r2"].error
    assert error is not None
    assert error["code"] == "upstream_empty"


def test_without_a_channel_the_first_record_is_invalid_and_the_rest_never_started() -> None:
    world = run(record(body("a"), "r1"), record(body("b"), "r1"), record(body("c"), "r1", "chat:1"))
    assert world.dead == [(Reason.INVALID, 0), (Reason.NO_START, 1), (Reason.NO_START, 2)]


def test_a_template_gives_the_channel() -> None:
    template = ChunkFormat(template=ChannelTemplate("t:{key}:{response_id}"))
    world = run(record(body("a"), "r1"), record(DONE, "r1"), chunk_format=template)
    assert world.records()["r1"].channel == "t:k:r1"


def test_chunks_and_events_do_not_mix() -> None:
    ours = events("r1", "c", [("text", "x")], unnumbered=True)
    world = run(ours[0], record(body("no"), "r1"), *ours[1:], record(body("late"), "r1"), record(DONE, "r1"))
    assert world.records()["r1"].text == "x"
    assert world.dead == [(Reason.INVALID, 1), (Reason.LATE, 4)]
    world = run(
        record(body("a"), "r2", "c"), events("r2", "c", [("text", "x")], unnumbered=True)[1], record(DONE, "r2")
    )
    assert world.records()["r2"].text == "a"
    assert world.dead == [(Reason.INVALID, 1)]


def test_the_format_decides_what_is_read() -> None:
    plain = events("r1", "c", [("text", "x")], unnumbered=True)
    only_ours = ChunkFormat(Format.TOKENSTREAM)
    world = run(*plain, LogRecord(0, orjson.dumps(body("a"))), chunk_format=only_ours)
    assert (world.records()["r1"].text, world.dead) == ("x", [(Reason.INVALID, 3)])
    forced = LogRecord(0, b'{"nothing":1}', headers=(("content-type", b"application/vnd.openai.chunk+json"),))
    assert run(forced, chunk_format=only_ours).dead == []
    only_theirs = ChunkFormat(Format.OPENAI, ChannelTemplate("{key}"))
    world = run(*plain, LogRecord(0, orjson.dumps(body("a"))), LogRecord(0, b"junk"), chunk_format=only_theirs)
    assert world.records()["c1"].text == "a"
    assert world.dead == [(Reason.NOT_JSON, 4)]


def test_a_response_may_grow_too_large() -> None:
    limits = Limits(gap_timeout=2, idle_timeout=60, snapshot_interval=0.5, response=4_000)
    world = run(record(body("a"), "r1", "c"), *[record(body("b" * 900), "r1")] * 9, limits=limits)
    kept = world.records()["r1"]
    assert (kept.reason, kept.status) == ("too_large", Status.FAILED)
    assert kept.text.startswith("ab")


def test_a_refusing_channel_gets_each_record_once() -> None:
    many = chat(*[delta({"content": "x"}, index) for index in range(5)])
    world = World([record(many, "r1", "c"), record(many, "r1")], Random(1), LIMITS, refusing=frozenset({"c"}))
    world.finish()
    assert world.dead == [(Reason.UNPUBLISHABLE, 0), (Reason.UNPUBLISHABLE, 1)]


ODD = st.sampled_from([None, True, 7, -1, 1e400, "x", "", [], [None], ["x"], {}, {"a": None}, {"content": "x"}])
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "id": ODD,
        "object": ODD | st.just("chat.completion.chunk"),
        "choices": ODD
        | st.lists(ODD | st.fixed_dictionaries({"index": ODD, "delta": ODD, "finish_reason": ODD}), max_size=2),
        "error": ODD,
        "type": ODD | st.sampled_from(["response.completed", "response.output_text.delta", "error"]),
        "usage": ODD,
        "v": ODD,
        "event": ODD,
    },
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["response-id", "channel", "content-type", "traceparent"]),
        st.sampled_from([b"", b"r1", b"\xff", b"application/vnd.openai.chunk+json", b"..", b"[x"]),
    ),
    max_size=3,
)


@common
@given(
    st.lists(
        st.tuples(FIELDS.map(lambda each: json.dumps(each).encode()) | st.binary(max_size=9), HEADERS), max_size=12
    ),
    st.sampled_from(list(Format)),
)
def test_no_record_raises(records: list[tuple[bytes, list[tuple[str, bytes]]]], tokens_format: Format) -> None:
    log = [LogRecord(0, value, b"k", headers=tuple(headers)) for value, headers in records]
    run(*log, chunk_format=ChunkFormat(tokens_format, ChannelTemplate("c")))


@pytest.mark.parametrize("count", [1, 40])
def test_states_that_wait_to_be_acknowledged_are_counted(count: int) -> None:
    """Usage on each chunk makes each state another: what waits is in `buffered_bytes`."""
    usage = {"details": "u" * 10_000}
    log = [record(body("x", usage={**usage, "n": number}), "r1", "c") for number in range(count)]
    world = World(log, Random(1), LIMITS)
    world.pipeline.consume(world.log, count, 0.0)
    assert world.pipeline.status().buffered_bytes >= count * 10_000
    world.position = count
    world.finish()
    assert world.pipeline.status().buffered_bytes == 0
