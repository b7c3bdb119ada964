"""What tool calls in chunks of Chat Completions mean, and what bounds them."""

from typing import Any

import pytest

from support.openai_feed import (
    DONE,
    USAGE,
    USAGE_CHUNK,
    chat,
    chunk_of,
    delta,
    finish,
    parts,
    read,
    text,
    tool,
    tools,
)
from topics.limits import MAX_OBJECT_BYTES, MAX_PARTS
from topics.openai_state import MAX_HELD_BYTES

# Tool calls


def test_a_tool_call_is_a_part_named_by_its_id() -> None:
    outcome = read(
        [
            tools(tool("", "weather", index=0, id="call_a", type="function")),
            tools(tool('{"c":', index=0)),
            tools(tool("1}", index=0)),
            finish("tool_calls"),
            USAGE_CHUNK,
        ]
    )
    assert outcome.parts == {"call_a": '{"c":1}'}
    assert outcome.kinds == {"call_a": "tool_call"}
    assert outcome.infos == {"call_a": {"name": "weather", "id": "call_a"}}
    assert [token.part_info is not None for token in outcome.tokens] == [True, False, False]
    assert outcome.reason == "tool_calls"


def test_a_whole_call_in_one_chunk_is_one_token() -> None:
    outcome = read([tools(tool("{}", "w", id="a", index=0), tool("[]", "w", id="b", index=1))])
    assert [(token.part, token.text) for token in outcome.tokens] == [("a", "{}"), ("b", "[]")]


def test_a_new_id_opens_a_part_though_the_index_is_the_same() -> None:
    values = [tools(tool("1", "w", id="a", index=0)), tools(tool("2", "w", id="b", index=0)), tools(tool("3", index=0))]
    assert parts(*values, tools(tool("4", id="a", index=0))) == {"a": "14", "b": "23"}


def test_parallel_calls_go_by_their_index() -> None:
    values = [
        tools(tool("", "w", id="a", index=1), tool("", "w", id="b", index=5)),
        tools(tool("1", index=1), tool("2", index=5)),
    ]
    assert parts(*values) == {"a": "1", "b": "2"}


@pytest.mark.parametrize("more", [{}, {"id": ""}, {"id": None, "index": None}, {"id": "", "index": "0"}, {"index": 7}])
def test_without_id_and_index_the_newest_call_is_meant(more: dict[str, Any]) -> None:
    values = [tools(tool("1", "w", id="a")), tools(tool("2", "w", id="b")), tools(tool("3", "", **more))]
    assert parts(*values) == {"a": "1", "b": "23"}


def test_calls_without_ids_go_by_their_index() -> None:
    values = [tools(tool("1", "v", index=0)), tools(tool("2", "w", index=1)), tools(tool("3", index=0))]
    outcome = read(values)
    assert outcome.parts == {"tool_call_0": "13", "tool_call_1": "2"}
    assert outcome.infos == {"tool_call_0": {"name": "v"}, "tool_call_1": {"name": "w"}}


def test_an_id_that_comes_late_is_that_of_the_waiting_call() -> None:
    outcome = read([tools(tool("1", index=0)), tools(tool("2", "w", index=0, id="a"))])
    assert (outcome.parts, outcome.infos) == ({"a": "12"}, {"a": {"name": "w", "id": "a"}})


@pytest.mark.parametrize("given", ["functions.w:0", "call a", "x" * 64])
def test_an_id_is_opaque(given: str) -> None:
    assert parts(tools(tool("1", "w", id=given))) == {given: "1"}


@pytest.mark.parametrize("given", ["x" * 65, "text", "reasoning", "refusal", "1.text", "text_1_0", "x" * 1000])
def test_an_id_that_is_no_name_of_a_part_is_in_the_part_info(given: str) -> None:
    outcome = read([tools(tool("1", "w", id=given)), tools(tool("2", id=given)), text("t")])
    assert outcome.parts == {"tool_call_0": "12", "text": "t"}
    assert outcome.infos == {"tool_call_0": {"name": "w", "id": given}}


def test_an_id_with_half_a_pair_is_no_name_of_a_part() -> None:
    outcome = read([tools(tool("1", "w", id="a\ud83d")), tools(tool("2", id="a\ud83d"))])
    assert outcome.parts == {"tool_call_0": "12"}
    assert outcome.infos == {"tool_call_0": {"name": "w", "id": "a\ufffd"}}


def test_an_id_is_no_name_where_the_prefix_makes_it_too_long() -> None:
    assert parts(tools(tool("1", "w", id="x" * 63), index=2)) == {"2.tool_call_0": "1"}


def test_a_given_name_is_not_taken_twice() -> None:
    values = [
        tools(tool("1", "w", id="tool_call_1")),
        tools(tool("2", "w", id="y" * 65)),
        tools(tool("3", "w", id="z" * 65)),
    ]
    assert parts(*values) == {"tool_call_1": "1", "tool_call_2": "2", "tool_call_3": "3"}


def test_an_id_is_no_name_where_another_call_has_it() -> None:
    assert parts(tools(tool("1", "w", id="x" * 65)), tools(tool("2", "w", id="tool_call_0"))) == {
        "tool_call_0": "1",
        "tool_call_1": "2",
    }


def test_deltas_wait_for_the_name() -> None:
    outcome = read([tools(tool("\ud83d", id="a", index=0)), tools(tool("\ude00", index=0))])
    assert outcome.tokens == []
    outcome.feed(chunk_of(tools(tool("!", "w", index=0))))
    assert [(token.text, token.part_info) for token in outcome.tokens] == [("\U0001f600!", {"name": "w", "id": "a"})]


@pytest.mark.parametrize("end", [[DONE], [finish("tool_calls"), USAGE_CHUNK], [{"error": "m"}]])
def test_the_end_shows_a_call_without_a_name(end: list[Any]) -> None:
    outcome = read([tools(tool("1", id="a")), *end])
    assert (outcome.parts, outcome.infos) == ({"a": "1"}, {"a": {"id": "a"}})
    assert outcome.stop is not None


def test_what_waits_is_bounded_and_not_lost() -> None:
    outcome = read([tools(tool("x" * 1000, id="a", index=0)) for _ in range(40)])
    assert outcome.parts == {"a": "x" * 40_000}
    assert outcome.infos == {"a": {"id": "a"}}
    many = read([tools(tool("", id=f"{number:0500}", index=number)) for number in range(70)])
    assert many.state is not None
    assert sum(len(call.held) + len(call.given_id) for call in many.state.calls) <= MAX_HELD_BYTES


def test_a_call_without_arguments_is_shown() -> None:
    outcome = read([tools(tool(None, "w", id="a")), finish("tool_calls"), USAGE_CHUNK])
    assert (outcome.parts, outcome.infos) == ({"a": ""}, {"a": {"name": "w", "id": "a"}})


def test_a_function_name_too_long_for_an_object_is_left_out() -> None:
    outcome = read([tools(tool("1", "w" * MAX_OBJECT_BYTES, id="a"))])
    assert (outcome.parts, outcome.infos) == ({"a": "1"}, {"a": {"id": "a"}})


def test_the_deprecated_function_call_is_a_tool_call() -> None:
    values = [
        chat(delta({"function_call": {"name": "w", "arguments": ""}})),
        chat(delta({"function_call": {"arguments": "{}"}})),
    ]
    outcome = read([*values, finish("function_call"), USAGE_CHUNK])
    assert (outcome.parts, outcome.infos) == ({"tool_call_0": "{}"}, {"tool_call_0": {"name": "w"}})
    assert (outcome.reason, outcome.usage) == ("tool_calls", {**USAGE, "finishReason": "function_call"})


# Bounds


def test_parts_beyond_the_bound_are_dropped_and_counted() -> None:
    calls = [tools(tool("1", "w", id=f"c{number}", index=number)) for number in range(MAX_PARTS + 2)]
    more = [
        tools(tool("2", index=MAX_PARTS + 1)),
        tools(tool("2", index=MAX_PARTS)),
        tools(tool("2", index=3)),
        text("t"),
    ]
    outcome = read([*calls, *more, finish("tool_calls"), USAGE_CHUNK])
    assert list(outcome.parts) == [f"c{number}" for number in range(MAX_PARTS)]
    assert outcome.parts["c3"] == "12"
    assert (outcome.dropped, outcome.reason) == (5, "tool_calls")


def test_an_index_reused_by_a_dropped_call_is_not_the_older_calls() -> None:
    calls = [tools(tool("1", "w", id=f"c{number}", index=number)) for number in range(MAX_PARTS)]
    new = [tools(tool("2", "w", id=given, index=index)) for index, given in enumerate(["d", "e"])]
    outcome = read([*calls, *new, tools(tool("3", index=0)), tools(tool("4", index=2))])
    assert [outcome.parts[part] for part in ("c0", "c1", "c2")] == ["1", "1", "14"]
    assert outcome.dropped == 3


def test_a_waiting_call_keeps_its_place() -> None:
    outcome = read([tools(tool("1", id="a")), *[text("t", number) for number in range(MAX_PARTS)], DONE])
    assert len(outcome.parts) == MAX_PARTS
    assert (outcome.parts["a"], outcome.dropped) == ("1", 1)
