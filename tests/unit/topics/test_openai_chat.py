"""What chunks of Chat Completions mean: each field of the format, and each shape that a provider is known to send."""

from typing import Any

import pytest

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
from topics.limits import MAX_OBJECT_BYTES, MAX_PARTS, MAX_TEXT_BYTES
from topics.openai_state import MAX_CHOICES, MAX_HELD_BYTES, State
from topics.openai_stream import end_after_gap

REASONING = "reasoning"


def parts(*values: bytes | dict[str, Any]) -> dict[str, str]:
    return read(values).parts


# The start


def test_the_first_chunk_gives_the_metadata() -> None:
    outcome = read([chat(model="m-large", created=1763860000), text("Hi")])
    assert outcome.metadata == {"model": "m-large", "created": 1763860000}
    assert outcome.records[0].channel == "chat:42"
    assert [record.event for record in outcome.records] == ["start", "token"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"model": "", "created": 0},
        {"model": None, "created": None},
        {"model": 5, "created": "now"},
        {"model": "m" * (MAX_OBJECT_BYTES + 1)},
        {"created": True},
        {"created": -1},
        {"created": 10**400},
    ],
)
def test_metadata_leaves_out_what_the_first_chunk_lacks(fields: dict[str, Any]) -> None:
    assert read([chat(**fields)]).metadata == {}


def test_a_created_with_a_fraction_is_kept() -> None:
    assert read([chat(created=1763860000.5)]).metadata == {"created": 1763860000.5}


# Texts


@pytest.mark.parametrize("fields", [{}, {"content": ""}, {"content": None}, {"content": 5}, {"role": "assistant"}])
def test_a_delta_without_text_is_nothing(fields: dict[str, Any]) -> None:
    assert [record.event for record in read([chat(delta({"role": "assistant", **fields}))]).records] == ["start"]


def test_content_is_the_part_text() -> None:
    outcome = read([text("Hel"), text("lo")])
    assert [(token.part, token.kind, token.text) for token in outcome.tokens] == [
        ("text", "text", "Hel"),
        ("text", "text", "lo"),
    ]


def test_a_role_on_every_delta_is_nothing() -> None:
    assert parts(*[chat(delta({"role": "assistant", "content": each})) for each in ("Hi", " you")]) == {
        "text": "Hi you"
    }


def test_items_of_an_array_go_to_their_parts_in_order() -> None:
    items = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}, {"type": "text", "text": "."}]},
        {"type": "text", "text": "4"},
        {"type": "thinking", "thinking": "Yes"},
        {"type": "reference", "reference_ids": [1]},
        {"type": "text", "text": None},
        "text",
        None,
    ]
    outcome = read([chat(delta({"content": items}))])
    assert [(token.part, token.text) for token in outcome.tokens] == [
        (REASONING, "Hm"),
        (REASONING, "."),
        ("text", "4"),
        (REASONING, "Yes"),
    ]


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"reasoning_content": "a"}, "a"),
        ({"reasoning": "b"}, "b"),
        ({"reasoning_content": "a", "reasoning": "b"}, "a"),
        ({"reasoning_content": "", "reasoning": "b"}, "b"),
        ({"reasoning_content": None, "reasoning": "b"}, "b"),
        ({"reasoning_content": {"a": 1}, "reasoning": "b"}, "b"),
    ],
)
def test_reasoning_is_shown_once(fields: dict[str, Any], shown: str) -> None:
    outcome = read([chat(delta(fields))])
    assert (outcome.parts, outcome.kinds) == ({REASONING: shown}, {REASONING: REASONING})


def test_a_delta_with_reasoning_and_an_answer_gives_both() -> None:
    outcome = read([chat(delta({"content": "4", "reasoning": "2+2"}))])
    assert [token.part for token in outcome.tokens] == [REASONING, "text"]


def test_a_refusal_has_its_own_part_and_ends_as_sent() -> None:
    outcome = read(
        [chat(delta({"content": None, "refusal": ""})), chat(delta({"refusal": "I can"})), finish(), USAGE_CHUNK]
    )
    assert (outcome.parts, outcome.kinds, outcome.reason) == ({"refusal": "I can"}, {"refusal": "refusal"}, "stop")


def test_the_transcript_of_audio_is_kept_and_its_data_dropped() -> None:
    audio = {"id": "a", "data": "UklGRg==", "transcript": "Hello"}
    outcome = read([chat(delta({"audio": audio})), chat(delta({"audio": {"data": "AAAA"}})), chat(delta({"audio": 5}))])
    assert outcome.parts == {"audio_transcript": "Hello"}


def test_the_older_api_gives_text() -> None:
    outcome = read(
        [chat({"text": "The", "index": 0}), chat({"text": " end", "index": 0, "finish_reason": "length"}), USAGE_CHUNK]
    )
    assert (outcome.parts, outcome.reason) == ({"text": "The end"}, "length")


def test_a_text_longer_than_a_token_may_be_is_cut() -> None:
    long = "\U0001f600" * (MAX_TEXT_BYTES // 4 + 1)
    outcome = read([text(long)])
    assert [len((token.text or "").encode()) for token in outcome.tokens] == [MAX_TEXT_BYTES, 4]
    assert outcome.parts == {"text": long}


def test_half_a_pair_waits_for_the_other_half() -> None:
    outcome = read([text("a\ud83d"), text("\ude00b"), text("c\ud83dd\ude00e")])
    assert [(token.text, token.torn) for token in outcome.tokens] == [
        ("a\ud83d", True),
        ("\ude00b", True),
        ("c\ufffdd\ufffde", False),
    ]
    assert outcome.parts == {"text": "a\U0001f600bc\ufffdd\ufffde"}


# Choices


def test_further_choices_have_parts_of_their_own() -> None:
    outcome = read(
        [
            chat(delta({"content": "a"}), delta({"content": "b", "reasoning": "r"}, 2)),
            tools(tool("{}", "f", id="call_a"), index=1),
            tools(tool("{}", "f", id="call_a")),
        ]
    )
    assert outcome.parts == {"text": "a", "2.reasoning": "r", "2.text": "b", "1.call_a": "{}", "call_a": "{}"}
    assert outcome.kinds["2.text"] == "text"


@pytest.mark.parametrize("index", [None, "1", -1, 1.0, True, 10**30])
def test_an_index_that_is_none_is_the_first(index: object) -> None:
    assert parts(chat({"index": index, "delta": {"content": "a"}})) == {"text": "a"}


def test_it_ends_when_all_choices_finished_and_usage_came() -> None:
    outcome = read([chat(delta(), delta({}, 1), delta({}, 2)), finish(index=1), finish(index=0)])
    outcome.feed(chunk_of(USAGE_CHUNK))
    assert outcome.stop is None
    outcome.feed(chunk_of(finish(index=2)))
    assert (outcome.reason, outcome.usage) == ("stop", USAGE)


def test_the_lowest_choice_gives_the_reason() -> None:
    values = [chat(delta({}, 2), delta({}, 1)), finish("length", 2), finish("tool_calls", 1), USAGE_CHUNK]
    assert read(values).reason == "tool_calls"


def test_choices_beyond_the_bound_are_dropped_and_counted() -> None:
    values = [text("x", index) for index in range(MAX_CHOICES + 3)]
    outcome = read([*values, *[finish(index=index) for index in range(MAX_CHOICES)], USAGE_CHUNK])
    assert len(outcome.parts) == MAX_PARTS
    assert (outcome.dropped, outcome.reason) == (3, "stop")


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


def test_the_state_after_the_end_holds_nothing() -> None:
    assert read([text("a"), tools(tool("1", "w", id="a")), finish(), USAGE_CHUNK]).state == State(ended=True)


# Usage and the end


def test_finish_and_usage_in_one_chunk_end_it_at_once() -> None:
    outcome = read([text("a"), finish(usage=USAGE)])
    assert (outcome.reason, outcome.usage, outcome.error) == ("stop", USAGE, None)


def test_usage_on_every_chunk_ends_nothing_before_the_finish() -> None:
    outcome = read([chat(delta({"content": "a"}), usage={"n": 1}), chat(delta({"content": "b"}), usage={"n": 2})])
    assert outcome.stop is None
    outcome.feed(chunk_of(finish(usage={"n": 3})))
    assert (outcome.parts, outcome.usage) == ({"text": "ab"}, {"n": 3})


def test_usage_before_the_finish_is_kept_and_does_not_end_it() -> None:
    outcome = read([chat(usage=USAGE), finish()])
    assert outcome.stop is None
    outcome.wait()
    assert outcome.usage == USAGE


def test_usage_may_come_in_another_place_or_with_choices() -> None:
    assert read([finish(x_groq={"usage": USAGE})]).usage == USAGE
    assert read([finish(usage=USAGE, x_groq={"usage": {"n": 1}})]).usage == USAGE
    assert read([chat(delta({}, finish_reason="stop", usage=USAGE))]).usage == USAGE
    outcome = read([text("a"), finish(), chat(delta({"role": "assistant", "content": ""}), usage=USAGE)])
    assert (outcome.parts, outcome.usage) == ({"text": "a"}, USAGE)


@pytest.mark.parametrize("usage", [None, 5, "a", [1]])
def test_usage_that_is_no_object_is_nothing(usage: object) -> None:
    assert read([finish(usage=usage, x_groq=usage)]).stop is None


def test_usage_too_large_ends_the_response_and_is_left_out() -> None:
    outcome = read([finish(usage={"a": "x" * MAX_OBJECT_BYTES})])
    assert (outcome.reason, outcome.usage) == ("stop", None)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        *[(given, "stop") for given in ("eos_token", "stop_sequence", "end_turn", "STOP", "Stop", "something")],
        *[(given, "length") for given in ("model_length", "max_tokens", "repetition", "MAX_TOKENS")],
        *[("function_call", "tool_calls"), ("safety", "content_filter"), ("SAFETY", "content_filter")],
        *[("abort", "cancelled"), ("Cancelled", "cancelled"), ("ERROR", "error")],
    ],
)
def test_a_finish_reason_is_mapped_and_the_original_kept(given: str, reason: str) -> None:
    outcome = read([finish(given), USAGE_CHUNK])
    assert (outcome.reason, outcome.usage) == (reason, {**USAGE, "finishReason": given})


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter", "cancelled", "error"])
def test_a_finish_reason_of_ours_is_kept(reason: str) -> None:
    outcome = read([finish(reason), USAGE_CHUNK])
    assert (outcome.reason, outcome.usage) == (reason, USAGE)
    assert (outcome.error is not None) == (reason == "error")


def test_a_finish_reason_without_usage_is_kept_too() -> None:
    assert read([finish("eos_token"), DONE]).usage == {"finishReason": "eos_token"}
    assert read([finish("x" * 100_000), DONE]).usage == {"finishReason": "x" * 256}
    assert read([finish("a\ud83d"), DONE]).usage == {"finishReason": "a\ufffd"}


@pytest.mark.parametrize("given", [None, "", 5, ["stop"]])
def test_a_finish_reason_that_is_no_text_finishes_nothing(given: object) -> None:
    assert read([chat(delta({}, finish_reason=given)), USAGE_CHUNK]).stop is None


def test_the_first_finish_of_a_choice_counts() -> None:
    assert read([finish("length"), finish("stop"), DONE]).reason == "length"


def test_done_ends_what_has_finished() -> None:
    outcome = read([text("a"), finish("length"), DONE])
    assert (outcome.reason, outcome.usage) == ("length", None)


@pytest.mark.parametrize(
    "value",
    [
        text("a"),
        chat(delta({"reasoning": "a"})),
        chat(delta({"refusal": "a"})),
        tools(tool("", "w", id="a")),
        tools(tool("1")),
    ],
)
def test_done_without_a_finish_is_a_stop_where_something_came(value: dict[str, Any]) -> None:
    outcome = read([value, DONE])
    assert (outcome.reason, outcome.error) == ("stop", None)


@pytest.mark.parametrize(
    "values", [[DONE], [chat(delta({"role": "assistant", "content": ""})), DONE], [USAGE_CHUNK, DONE]]
)
def test_done_without_anything_is_an_error(values: list[Any]) -> None:
    outcome = read(values)
    assert outcome.reason == "error"
    assert outcome.error["code"] == "upstream_empty"


def test_the_gap_timeout_ends_only_what_has_finished() -> None:
    outcome = read([chat(delta({"content": "a"}), delta({"content": "b"}, 1)), finish()])
    assert outcome.state is not None
    assert not outcome.state.finished
    outcome.wait()
    assert outcome.stop is None
    outcome.feed(chunk_of(finish("length", 1)))
    assert outcome.state.finished
    outcome.wait()
    assert outcome.reason == "stop"
    assert not outcome.state.finished


def test_a_response_of_nothing_does_not_end_by_the_gap_timeout() -> None:
    assert end_after_gap(State(), "r-1").records == ()
    assert end_after_gap(State(ended=True), "r-1").records == ()


def test_text_after_the_finish_is_taken_until_the_end() -> None:
    outcome = read([text("a"), finish(), text("b"), USAGE_CHUNK])
    assert outcome.parts == {"text": "ab"}


# Errors


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": "m", "code": 500, "type": "t"}, {"code": "500", "message": "m"}),
        ({"message": "m", "code": "c", "type": "t"}, {"code": "c", "message": "m"}),
        ({"message": "m", "code": None, "type": "t"}, {"code": "t", "message": "m"}),
        ({"message": "m", "code": "", "type": ""}, {"code": "upstream_error", "message": "m"}),
        ({"message": None, "code": True}, {"code": "upstream_error", "message": ""}),
        ({}, {"code": "upstream_error", "message": ""}),
        ("out of memory", {"code": "upstream_error", "message": "out of memory"}),
        ({"message": "\ud83d"}, {"code": "upstream_error", "message": "\ufffd"}),
        ({"message": "\x01" * 100_000, "code": "c" * 1000}, {"code": "c" * 256, "message": "\x01" * 2048}),
    ],
)
def test_an_error_ends_the_response(error: object, expected: dict[str, str]) -> None:
    outcome = read([text("a"), {"error": error}, DONE])
    assert (outcome.parts, outcome.reason, outcome.error) == ({"text": "a"}, "error", expected)


def test_text_beside_an_error_comes_before_the_end() -> None:
    failed = {**text("b"), "error": {"code": 502, "message": "m"}}
    outcome = read([text("a"), failed])
    assert (outcome.parts, outcome.reason) == ({"text": "ab"}, "error")


def test_an_error_decides_whatever_the_choices_say() -> None:
    error = {"code": 502, "message": "m"}
    outcome = read([text("a"), chat(delta({"content": ""}, finish_reason="error"), error=error, usage=USAGE)])
    assert (outcome.reason, outcome.error, outcome.usage) == ("error", {"code": "502", "message": "m"}, USAGE)


@pytest.mark.parametrize("error", [None, "", 5, [1], False])
def test_an_error_that_says_nothing_is_nothing(error: object) -> None:
    assert parts(chat(delta({"content": "a"}), error=error)) == {"text": "a"}


# Nothing


@pytest.mark.parametrize(
    "fields",
    [
        {"choices": []},
        {"choices": None},
        {"id": "c1"},
        {"choices": [{"index": 0, "finish_reason": None, "content_filter_results": {"hate": {}}}]},
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": [None, 5, "a", [], {}]},
        {"choices": {"0": {}}},
        {"choices": [], "sglext": {}, "timings": {}, "citations": ["a"], "obfuscation": "x"},
    ],
)
def test_a_chunk_of_nothing_is_nothing(fields: dict[str, Any]) -> None:
    outcome = read([text("a"), fields, text("b")])
    assert [token.text for token in outcome.tokens] == ["a", "b"]
    assert outcome.stop is None


def test_other_fields_are_ignored() -> None:
    fields = {
        "content": "a",
        "thinking_blocks": [{"thinking": "x"}],
        "provider_specific_fields": {},
        "hidden_states": [1],
    }
    assert parts(chat(delta(fields, logprobs={"content": []}, stop_reason=5, token_ids=[1]))) == {"text": "a"}


# After the end


@pytest.mark.parametrize(
    ("value", "late"),
    [
        (DONE, False),
        (USAGE_CHUNK, False),
        ({"error": "m"}, False),
        (finish(), False),
        (text(""), False),
        (tools(tool("", "w", id="a")), False),
        (text("a"), True),
        (chat({"text": "a"}), True),
        (chat(delta({"reasoning": "a"})), True),
        (tools(tool("1", index=0)), True),
        (chat(delta({"function_call": {"arguments": "1"}})), True),
    ],
)
def test_after_the_end_only_text_is_late(value: Any, late: bool) -> None:
    outcome: Outcome = read([text("a"), finish(), DONE])
    count = len(outcome.records)
    outcome.feed(chunk_of(value))
    assert (len(outcome.records), bool(outcome.late)) == (count, late)


def test_an_unchanged_state_is_the_same_value() -> None:
    outcome = read([text("a")])
    before = outcome.state
    outcome.feed(chunk_of(text("b")))
    assert outcome.state is before
    assert before is not None
    assert kept(before) == before
