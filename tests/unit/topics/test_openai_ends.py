"""How a response in chunks of Chat Completions ends: usage, finish reasons, errors."""

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
from topics.limits import MAX_OBJECT_BYTES
from topics.openai_state import State
from topics.openai_stream import end_after_gap

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
