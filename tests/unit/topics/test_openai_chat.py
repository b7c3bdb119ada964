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
    parts,
    read,
    text,
    tool,
    tools,
)
from topics.limits import MAX_OBJECT_BYTES, MAX_PARTS, MAX_TEXT_BYTES
from topics.openai_state import MAX_CHOICES, State

REASONING = "reasoning"


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
    assert [(token.text, token.unpaired) for token in outcome.tokens] == [
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


def test_the_state_after_the_end_holds_nothing() -> None:
    assert read([text("a"), tools(tool("1", "w", id="a")), finish(), USAGE_CHUNK]).state == State(ended=True)


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
