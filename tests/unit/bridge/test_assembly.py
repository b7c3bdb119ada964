import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processor.bridge.assembly import Assembly, CompletionTooLarge
from support.openai_feed import USAGE, chat, delta, finish, text, tool, tools


def assembled(*chunks: dict[str, Any]) -> dict[str, Any]:
    assembly = Assembly()
    for chunk in chunks:
        assembly.add(chunk, 1)
    return assembly.completion


def message(*chunks: dict[str, Any]) -> Any:
    return assembled(*chunks)["choices"][0]["message"]


def test_a_chat_completion_is_what_its_chunks_add_up_to() -> None:
    made = assembled(
        chat(delta({"role": "assistant", "content": ""}), model="m", created=7, system_fingerprint="f"),
        text("Hel"),
        text("lo"),
        finish("stop"),
        chat(usage=USAGE),
    )
    assert made == {
        "id": "c1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "system_fingerprint": "f",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": USAGE,
    }


def test_tool_calls_are_joined_by_id_and_index() -> None:
    made = message(
        tools(tool("", "weather", index=0, id="call_a", type="function")),
        tools(tool('{"c":', index=0), tool('{"d":', "time", index=1, id="call_b", type="function")),
        tools(tool("1}", index=0), tool("2}", index=1)),
        finish("tool_calls"),
    )
    assert made["content"] is None
    assert made["tool_calls"] == [
        {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"c":1}'}},
        {"id": "call_b", "type": "function", "function": {"name": "time", "arguments": '{"d":2}'}},
    ]


def test_a_new_id_with_a_used_index_is_another_call() -> None:
    made = message(
        tools(tool("1", "a", index=0, id="x")), tools(tool("2", "b", index=0, id="y")), tools(tool("3", index=0))
    )
    assert [call["function"]["arguments"] for call in made["tool_calls"]] == ["1", "23"]


def test_choices_keep_apart() -> None:
    made = assembled(text("b", 1), text("a", 0), text("B", 1), finish("length", 1), finish("stop", 0))
    found = [(each["index"], each["message"]["content"], each["finish_reason"]) for each in made["choices"]]
    assert found == [(0, "a", "stop"), (1, "bB", "length")]


def test_reasoning_refusals_and_lists_are_joined() -> None:
    made = message(
        chat(delta({"reasoning_content": "H"})),
        chat(delta({"reasoning_content": "m"})),
        chat(delta({"refusal": "no"})),
        chat(delta({"annotations": [1]})),
        chat(delta({"annotations": [2]})),
    )
    assert (made["reasoning_content"], made["refusal"], made["annotations"]) == ("Hm", "no", [1, 2])


def test_content_may_be_a_list_and_then_a_string() -> None:
    made = message(
        chat(delta({"content": ""})),
        chat(delta({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]})),
        text("Hel"),
        text("lo"),
    )
    assert made["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]},
        {"type": "text", "text": "Hello"},
    ]


def test_log_probabilities_are_joined() -> None:
    made = assembled(
        chat(delta({"content": "a"}, logprobs={"content": [{"token": "a"}], "refusal": None})),
        chat(delta({"content": "b"}, logprobs={"content": [{"token": "b"}], "refusal": None})),
        chat(delta({}, logprobs=None)),
    )
    assert made["choices"][0]["logprobs"] == {"content": [{"token": "a"}, {"token": "b"}], "refusal": None}


def test_a_completion_of_the_older_api_has_a_text() -> None:
    def piece(content: str, reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "text": content, "finish_reason": reason, "logprobs": None}
        return {"id": "c", "object": "text_completion", "choices": [choice]}

    made = assembled(piece("Once "), piece("upon", "stop"))
    assert made["object"] == "text_completion"
    assert made["choices"] == [{"index": 0, "text": "Once upon", "finish_reason": "stop"}]


def test_a_completion_has_a_largest_size() -> None:
    assembly = Assembly(max_bytes=10)
    assembly.add(text("a"), 6)
    with pytest.raises(CompletionTooLarge):
        assembly.add(text("b"), 6)


ODD = st.sampled_from([None, True, 7, -1, "x", [], [None], ["x"], [{"a": ["b"]}], {}, {"a": None}, {"content": "x"}])
CALLS = st.lists(ODD | st.fixed_dictionaries({"id": ODD, "index": ODD, "function": ODD}), max_size=2)
DELTAS = ODD | st.fixed_dictionaries({"content": ODD, "tool_calls": ODD | CALLS})
CHOICES = ODD | st.fixed_dictionaries(
    {"index": ODD, "delta": DELTAS, "logprobs": ODD, "finish_reason": ODD, "text": ODD}
)
CHUNKS = st.fixed_dictionaries({"id": ODD, "choices": ODD | st.lists(CHOICES, max_size=2), "usage": ODD, "object": ODD})


@given(st.lists(CHUNKS, max_size=4))
def test_no_chunk_raises(chunks: list[dict[str, Any]]) -> None:
    json.dumps(assembled(*chunks))


@pytest.mark.parametrize("message", [None, 5, {"role": "assistant", "content": "On"}])
def test_a_message_beside_the_deltas_is_not_added_to_them(message: Any) -> None:
    assembly = Assembly()
    for piece in ("O", "n"):
        assembly.add({"choices": [{"index": 0, "message": message, "delta": {"content": piece}}]}, 1)
    assert assembly.completion["choices"][0]["message"] == {"role": "assistant", "content": "On"}


NAMES = [
    "index",
    "delta",
    "message",
    "logprobs",
    "content",
    "tool_calls",
    "function",
    "arguments",
    "id",
    "name",
    "text",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5), max_size=4))
def test_no_choice_makes_it_raise(choices: list[Any]) -> None:
    assembled(*({"choices": [choice], "usage": choice, "object": choice.get("id")} for choice in choices))
