"""For any records in OpenAI's format: text is kept, the end comes once, a replay gives the same, and nothing raises."""

import itertools
import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.examples import examples
from support.openai_feed import (
    DONE,
    USAGE,
    USAGE_CHUNK,
    Outcome,
    chat,
    chunk_of,
    delta,
    finish,
    kept,
    read,
    text,
    tool,
    tools,
)
from topics.codec import TokenRecord, decode_record, encode_token_event
from topics.limits import MAX_PARTS
from topics.openai import Body, Chunk
from topics.openai_state import MAX_CHOICES, MAX_HELD_BYTES, State
from topics.openai_stream import advance, begin, end_after_gap
from topics.records import Event

Value = bytes | dict[str, Any]

# Whole responses: any texts, cut anywhere, in any order of parts, with any end.

said = st.text(alphabet=st.sampled_from('aé\U0001f600漢"\\\n'), min_size=1, max_size=8)


def units(whole: str, cuts: list[int]) -> list[str]:
    """The text cut between UTF-16 code units, so that pairs are cut into halves."""
    encoded = whole.encode("utf-16-le")
    places = sorted({0, len(encoded), *[2 * (cut % (len(encoded) // 2 + 1)) for cut in cuts]})
    return [encoded[begun:ended].decode("utf-16-le", "surrogatepass") for begun, ended in itertools.pairwise(places)]


def pieces_of(part: str, pieces: list[str]) -> list[Value]:
    if part == "text":
        return [text(piece) for piece in pieces]
    if part == "1.text":
        return [chat({"index": 1, "text": piece}) for piece in pieces]
    if part == "reasoning":
        return [chat(delta({"reasoning": piece, "content": ""})) for piece in pieces]
    if part == "refusal":
        return [chat(delta({"refusal": piece, "content": None})) for piece in pieces]
    named = [tool(piece, "w" if number == len(pieces) // 2 else None, id=part) for number, piece in enumerate(pieces)]
    return [tools(call) for call in named]


ENDS: dict[str, tuple[list[Value], str]] = {
    "finish and usage": ([finish("length", 0), finish("stop", 1), USAGE_CHUNK], "length"),
    "finish with usage": ([finish("stop", 1), finish("tool_calls", 0, usage=USAGE)], "tool_calls"),
    "finish and done": ([finish("stop", 0), DONE], "stop"),
    "done": ([DONE], "stop"),
    "error": ([{"error": {"message": "m"}}], "error"),
    "gap": ([finish("stop", 0), finish("stop", 1)], "stop"),
}


@st.composite
def responses(draw: st.DrawFn) -> tuple[list[Value], dict[str, str], str]:
    """Records of a response, the texts of its parts, and the reason of its end."""
    texts = draw(
        st.dictionaries(
            st.sampled_from(["text", "1.text", "reasoning", "refusal", "call_a", "call_b"]), said, min_size=1
        )
    )
    waiting = []
    for part, whole in texts.items():
        waiting.append(pieces_of(part, units(whole, draw(st.lists(st.integers(0, 20), max_size=4)))))
    values: list[Value] = []
    while any(waiting):
        values.append(draw(st.sampled_from([each for each in waiting if each])).pop(0))
    end, reason = draw(st.sampled_from(list(ENDS.values())))
    return [*values, *end], texts, reason


@given(st.lists(responses(), min_size=1, max_size=3), st.randoms(use_true_random=False))
@settings(max_examples=examples(150))
def test_mixed_responses_keep_their_texts_and_end_once(
    given_: list[tuple[list[Value], dict[str, str], str]], random: Any
) -> None:
    order = [number for number, (values, _, _) in enumerate(given_) for _ in values]
    random.shuffle(order)
    waiting = [list(values) for values, _, _ in given_]
    outcomes = [Outcome() for _ in given_]
    for number in order:
        outcomes[number].feed(chunk_of(waiting[number].pop(0), f"r-{number}"))
    for number, (outcome, (_, texts, reason)) in enumerate(zip(outcomes, given_, strict=True)):
        if outcome.stop is None:
            outcome.wait()
        assert outcome.parts == texts
        assert outcome.reason == reason
        assert outcome.late == 0
        assert {record.response_id for record in outcome.records} <= {
            f"r-{number}",
            "r-1",
        }  # the timeout's stop is of r-1


# Any records at all

junk: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.just({})
    | st.just([])
    | st.just("\ud83d")
)
short = st.text(alphabet=st.sampled_from(["a", "\ud83d", "\ude00", "é"]), max_size=3)
index = st.integers(0, 3) | junk
call = st.fixed_dictionaries(
    {},
    optional={
        "index": index,
        "id": st.sampled_from(["a", "b", "", "text", "x" * 70]) | junk,
        "function": st.fixed_dictionaries(
            {}, optional={"name": st.sampled_from(["w", ""]) | junk, "arguments": short | junk}
        )
        | junk,
    },
)
item = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["text", "thinking"]) | junk,
        "text": short,
        "thinking": junk | st.lists(st.fixed_dictionaries({"text": short}), max_size=2),
    },
)
a_delta = st.fixed_dictionaries(
    {},
    optional={
        "content": short | junk | st.lists(item | junk, max_size=2),
        "reasoning": short | junk,
        "reasoning_content": junk,
        "refusal": short | junk,
        "tool_calls": st.lists(call | junk, max_size=3) | junk,
        "function_call": call | junk | st.fixed_dictionaries({"name": short, "arguments": short}),
        "audio": junk | st.fixed_dictionaries({"transcript": short}),
    },
)
choice = st.fixed_dictionaries(
    {},
    optional={
        "index": index,
        "delta": a_delta | junk,
        "text": short | junk,
        "finish_reason": st.sampled_from(["stop", "ERROR"]) | junk,
    },
)
chats = st.fixed_dictionaries(
    {},
    optional={
        "model": junk,
        "created": junk,
        "choices": st.lists(choice | junk, max_size=3) | junk,
        "usage": junk | st.just({"n": 1}),
        "x_groq": junk,
        "error": st.none() | junk,
    },
)
KINDS = [
    "output_text.delta", "reasoning_text.delta", "reasoning_summary_text.delta", "refusal.delta", "output_text.done", "refusal.done",
    "reasoning_text.done", "reasoning_summary_text.done", "content_part.done", "reasoning_summary_part.done", "output_item.added",
    "output_item.done", "function_call_arguments.delta", "function_call_arguments.done", "completed", "incomplete", "failed", "created",
]  # fmt: skip
content = st.fixed_dictionaries(
    {"type": st.sampled_from(["output_text", "refusal", "summary_text"]) | junk},
    optional={"text": short | junk, "refusal": short | junk},
)
events = st.fixed_dictionaries(
    {"type": st.sampled_from([*[f"response.{kind}" for kind in KINDS], "error"])},
    optional={
        **dict.fromkeys(["output_index", "content_index", "summary_index"], index),
        **dict.fromkeys(["delta", "text", "refusal", "arguments", "name", "code", "message"], short | junk),
        "part": content | junk,
        "item": st.fixed_dictionaries(
            {"type": st.sampled_from(["message", "function_call", "reasoning"]) | junk},
            optional={
                "call_id": st.sampled_from(["a", "b"]) | junk,
                **dict.fromkeys(["name", "arguments"], short | junk),
                **dict.fromkeys(["content", "summary"], st.lists(content | junk, max_size=2) | junk),
            },
        )
        | junk,
        "response": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(["usage", "error", "incomplete_details", "model", "created_at"], junk)
        )
        | junk,
    },
)
values = st.lists(chats | chats | events | st.just(DONE), min_size=1, max_size=12)


def chunks(given_: list[Any]) -> list[Chunk]:
    """Without JSON between, so that the fields may be anything."""
    return [Chunk("r-1", Body({}, done=True) if value == DONE else Body(value), opens=True) for value in given_]


def assert_valid(records: list[TokenRecord]) -> None:
    """The token events are such that a producer of our own format could have sent them."""
    for seq, record in enumerate(records):
        fields = {
            name: getattr(record, name)
            for name in ("channel", "metadata", "text", "part", "part_info", "reason", "usage", "error")
        }
        kind = record.kind if record.event == "token" else None
        found = decode_record(encode_token_event(Event(record.event), record.response_id, seq, kind=kind, **fields))
        assert isinstance(found, TokenRecord), (found, record)
        found.seq = None
        assert found == record


@given(values)
@settings(max_examples=examples(400))
def test_whatever_the_fields_hold_the_events_are_valid(given_: list[Any]) -> None:
    outcome = Outcome()
    for each in chunks(given_):
        before = outcome.state
        outcome.feed(each)
        if before is not None and before.ended:
            assert outcome.state is before
    assert outcome.records[0].event == "start"
    assert all(record.event == "token" for record in outcome.records[1:-1])
    assert len(outcome.parts) <= MAX_PARTS
    assert set(outcome.kinds.values()) <= {"text", "reasoning", "refusal", "tool_call", "audio_transcript"}
    assert_valid(outcome.records)


@given(values, st.integers(0, 11))
@settings(max_examples=examples(300))
def test_a_replay_from_any_kept_state_gives_the_same_events(given_: list[Any], cut: int) -> None:
    all_chunks = chunks(given_)
    steps = [begin(all_chunks[0], "chat:42")]
    for each in all_chunks[1:]:
        steps.append(advance(steps[-1].state, each))
    assert begin(all_chunks[0], "chat:42") == steps[0]
    cut %= len(steps)
    state = kept(steps[cut].state)
    assert state == steps[cut].state
    for each, step in zip(all_chunks[cut + 1 :], steps[cut + 1 :], strict=True):
        again = advance(state, each)
        assert again == step
        state = kept(again.state)
    assert end_after_gap(state, "r-1") == end_after_gap(steps[-1].state, "r-1")


@given(values)
@settings(max_examples=examples(100))
def test_a_record_does_not_change_the_state_it_is_given(given_: list[Any]) -> None:
    state = State()
    for each in chunks(given_):
        encoded = msgspec.json.encode(state)
        after = advance(state, each).state
        assert msgspec.json.encode(state) == encoded
        state = after


# Bounds

FLOODS: dict[str, Any] = {
    "calls": lambda number: tools(*[tool("x", "w", id=f"c{number}-{each}") for each in range(20)]),
    "calls without names": lambda number: tools(
        *[tool("x" * 50, id=f"c{number}-{each}" + "i" * 500) for each in range(20)]
    ),
    "choices": lambda number: chat(*[delta({"content": "x"}, 20 * number + each) for each in range(20)]),
    "calls of choices": lambda number: tools(
        *[tool("x", id=f"c{each}", index=each) for each in range(20)], index=number
    ),
    "texts of responses": lambda number: {"type": "response.output_text.delta", "output_index": number, "delta": "x"},
    "calls of responses": lambda number: {
        "type": "response.function_call_arguments.delta",
        "output_index": number,
        "delta": "x",
    },
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_the_state_stays_small(flood: Any) -> None:
    outcome = read([flood(number) for number in range(200)])
    state = outcome.state
    assert state is not None
    assert len(state.parts) + sum(one.waits for one in state.calls) <= MAX_PARTS
    assert len(state.choices) <= MAX_CHOICES
    assert len(state.calls) <= MAX_PARTS + MAX_CHOICES
    assert len(state.slots) <= 2 * MAX_PARTS
    assert sum(len(one.held) + len(one.given_id) for one in state.calls) <= MAX_HELD_BYTES
    assert len(msgspec.json.encode(state)) < MAX_HELD_BYTES + 32 * 1024
    assert outcome.dropped > 0
    outcome.feed(chunk_of(DONE))
    assert len(outcome.parts) == MAX_PARTS


# Time

FAMILIES: dict[str, Any] = {
    "one text": lambda size: text("x" * size),
    "one text of halves": lambda size: text("\ud83d" * (size // 6)),
    "items of an array": lambda size: chat(delta({"content": [{"type": "text", "text": "x"}] * (size // 30)})),
    "choices": lambda size: chat(*[delta({"content": "x"}, number) for number in range(size // 70)]),
    "calls": lambda size: tools(*[tool("x", "w", id=f"c{number}", index=number) for number in range(size // 70)]),
    "calls without names": lambda size: tools(*[tool("x", id=f"c{number}") for number in range(size // 50)]),
    "arguments that wait": lambda size: tools(*[tool("x" * 100, index=0) for _ in range(size // 150)]),
    "calls of one index": lambda size: tools(
        *[tool("x", "w", id=f"c{number}", index=0) for number in range(size // 70)]
    ),
    "a long id": lambda size: tools(tool("x", "w", id="i" * size)),
    "a long name": lambda size: tools(tool("x", "n" * size, id="i")),
    "a long reason": lambda size: finish("r" * size),
    "a long message": lambda size: {"error": {"message": "m" * size, "code": "c" * size}},
    "wide usage": lambda size: chat(usage={str(number): number for number in range(size // 14)}),
    "content of an item": lambda size: {
        "type": "response.output_item.done",
        "item": {"type": "message", "content": [{"type": "output_text", "text": "x"}] * (size // 40)},
    },
}


def seconds(value: dict[str, Any]) -> float:
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        read([json.dumps(value).encode(), DONE])
        best = min(best, time.process_time() - began)
    return best


@pytest.mark.costly
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_sixteen_times_the_bytes_take_no_square_of_the_time(family: Any) -> None:
    small, large = seconds(family(8 * 1024)), seconds(family(128 * 1024))
    assert large < max(small, 0.002) * 16 * 5  # a square would be 16 times as much, not 5
