"""What events of the Responses API mean."""

from typing import Any

import pytest

from support.openai_feed import DONE, chunk_of, read
from topics.limits import MAX_PARTS

USAGE = {"input_tokens": 4, "output_tokens": 2}


def event(kind: str, output: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": output, "item_id": "msg_1", "sequence_number": 1, **fields}


def text(delta: str, output: int = 0, content: int = 0) -> dict[str, Any]:
    return event("output_text.delta", output, content_index=content, delta=delta)


def summary(delta: str, output: int = 0, index: int = 0) -> dict[str, Any]:
    return event("reasoning_summary_text.delta", output, summary_index=index, delta=delta)


def reasoning(delta: str, output: int = 0, index: int = 0) -> dict[str, Any]:
    return event("reasoning_text.delta", output, content_index=index, delta=delta)


def added(call_id: str, name: str, output: int = 0) -> dict[str, Any]:
    return event(
        "output_item.added", output, item={"type": "function_call", "call_id": call_id, "name": name, "arguments": ""}
    )


def item_done(output: int = 0, **item: Any) -> dict[str, Any]:
    return event("output_item.done", output, item=item)


def arguments(delta: str, output: int = 0) -> dict[str, Any]:
    return event("function_call_arguments.delta", output, delta=delta)


def end(kind: str = "completed", **response: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "response": {"id": "resp_1", "usage": USAGE, **response}}


CREATED = {"type": "response.created", "response": {"id": "resp_1", "model": "m-large", "created_at": 1763860000}}


def test_a_response_starts_with_what_created_says() -> None:
    assert read([CREATED]).metadata == {"model": "m-large", "created": 1763860000}
    assert read([text("a")]).metadata == {}
    assert read([{"type": "response.created", "response": 5}]).metadata == {}


def test_text_goes_to_the_part_text() -> None:
    outcome = read([CREATED, text("Hel"), text("lo"), end()])
    assert (outcome.parts, outcome.kinds) == ({"text": "Hello"}, {"text": "text"})
    assert (outcome.reason, outcome.usage, outcome.error) == ("stop", USAGE, None)


def test_further_parts_of_a_kind_are_named_by_their_indexes() -> None:
    values = [text("a", 1), text("b", 1, 1), text("c", 2), text("d", 1), summary("r"), summary("s", 0, 1)]
    outcome = read([*values, event("refusal.delta", 3, content_index=0, delta="n")])
    assert outcome.parts == {
        "text": "ad",
        "text_1_1": "b",
        "text_2_0": "c",
        "reasoning": "r",
        "reasoning_0_1": "s",
        "refusal": "n",
    }
    assert outcome.kinds["text_2_0"] == "text"
    assert outcome.kinds["reasoning_0_1"] == "reasoning"


def test_a_summary_is_not_the_reasoning_itself() -> None:
    assert read([summary("a"), reasoning("b"), summary("c")]).parts == {"reasoning": "ac", "reasoning_0_0": "b"}


def test_ids_of_items_may_change() -> None:
    values = [{**text(each), "item_id": each} for each in "abc"]
    assert read(values).parts == {"text": "abc"}


def test_a_function_call_is_named_by_its_call_id() -> None:
    values = [
        added("call_a", "w"),
        added("call_b", "v", 1),
        arguments("[", 1),
        arguments("{"),
        arguments("}"),
        arguments("]", 1),
    ]
    outcome = read([*values, end()])
    assert outcome.parts == {"call_a": "{}", "call_b": "[]"}
    assert outcome.kinds == {"call_a": "tool_call", "call_b": "tool_call"}
    assert outcome.infos == {"call_a": {"name": "w", "id": "call_a"}, "call_b": {"name": "v", "id": "call_b"}}
    assert outcome.reason == "tool_calls"


def test_arguments_wait_for_the_call() -> None:
    outcome = read([added("call_a", "w"), arguments("1", 4), arguments("2", 4)])
    assert outcome.parts == {"call_a": ""}
    outcome.feed(chunk_of(item_done(4, type="function_call", call_id="call_b", name="v", arguments="12")))
    assert outcome.parts == {"call_a": "", "call_b": "12"}
    assert outcome.infos["call_b"] == {"name": "v", "id": "call_b"}


def test_the_end_shows_arguments_without_a_call() -> None:
    outcome = read([arguments("1"), end()])
    assert (outcome.parts, outcome.infos, outcome.reason) == ({"tool_call_0": "1"}, {}, "tool_calls")


DONES = {
    "output_text.done": (event("output_text.done", content_index=0, text="Hello"), {"text": "Hello"}),
    "reasoning_text.done": (event("reasoning_text.done", content_index=0, text="Hm"), {"reasoning": "Hm"}),
    "reasoning_summary_text.done": (
        event("reasoning_summary_text.done", summary_index=0, text="Hm"),
        {"reasoning": "Hm"},
    ),
    "refusal.done": (event("refusal.done", content_index=0, refusal="No"), {"refusal": "No"}),
    "content_part.done": (
        event("content_part.done", content_index=0, part={"type": "output_text", "text": "Hi"}),
        {"text": "Hi"},
    ),
    "reasoning_summary_part.done": (
        event("reasoning_summary_part.done", summary_index=0, part={"type": "summary_text", "text": "Hm"}),
        {"reasoning": "Hm"},
    ),
    "a message": (
        item_done(type="message", content=[{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}]),
        {"text": "a", "refusal": "b"},
    ),
    "reasoning": (
        item_done(
            type="reasoning",
            summary=[{"type": "summary_text", "text": "a"}],
            content=[{"type": "reasoning_text", "text": "b"}],
        ),
        {"reasoning": "a", "reasoning_0_0": "b"},
    ),
    "a call": (item_done(type="function_call", call_id="call_a", name="w", arguments="{}"), {"call_a": "{}"}),
}


@pytest.mark.parametrize(("value", "expected"), DONES.values(), ids=DONES)
def test_the_done_events_give_what_no_delta_gave(value: dict[str, Any], expected: dict[str, str]) -> None:
    assert read([value]).parts == expected
    assert read([value, value]).parts == expected


def test_arguments_that_come_only_at_the_end_are_taken_once() -> None:
    done = event("function_call_arguments.done", arguments="{}")
    item = item_done(type="function_call", call_id="call_a", name="w", arguments="{}")
    assert read([added("call_a", "w"), done, item, end()]).parts == {"call_a": "{}"}
    assert read([event("function_call_arguments.done", name="w", arguments="{}")]).parts == {"tool_call_0": "{}"}


@pytest.mark.parametrize("given", ["", "H", "Hello", "Hello \U0001f600", "Hello \ud83d"])
def test_a_done_event_adds_only_the_rest(given: str) -> None:
    whole = "Hello \U0001f600!"
    values = [
        text(given),
        event("output_text.done", content_index=0, text=whole),
        event("content_part.done", content_index=0, part={"type": "output_text", "text": whole}),
        item_done(type="message", content=[{"type": "output_text", "text": whole}]),
    ]
    assert read(values).parts == {"text": whole}


@pytest.mark.parametrize("whole", ["", "Hel", "Jello, you", None])
def test_a_done_event_that_contradicts_the_deltas_adds_nothing(whole: object) -> None:
    assert read([text("Hello"), event("output_text.done", content_index=0, text=whole)]).parts == {"text": "Hello"}


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("content_filter", "content_filter"),
        ("max_output_tokens", "length"),
        (None, "length"),
        (["content_filter"], "length"),
    ],
)
def test_an_incomplete_response_says_why(why: object, reason: str) -> None:
    outcome = read([text("a"), end("incomplete", incomplete_details={"reason": why})])
    assert (outcome.reason, outcome.usage) == (reason, USAGE)
    assert read([end("incomplete", incomplete_details=None)]).reason == "length"


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (end("failed", error={"code": "server_error", "message": "m"}), {"code": "server_error", "message": "m"}),
        (end("failed", error=None), {"code": "upstream_error", "message": ""}),
        ({"type": "response.failed"}, {"code": "upstream_error", "message": ""}),
        ({"type": "error", "code": "rate_limit", "message": "m"}, {"code": "rate_limit", "message": "m"}),
        ({"type": "error", "code": None, "message": "m"}, {"code": "upstream_error", "message": "m"}),
        ({"type": "error", "error": {"type": "t", "message": "m"}}, {"code": "t", "message": "m"}),
    ],
)
def test_a_failed_response_says_why(value: dict[str, Any], error: dict[str, str]) -> None:
    outcome = read([text("a"), value])
    assert (outcome.parts, outcome.reason, outcome.error) == ({"text": "a"}, "error", error)


@pytest.mark.parametrize(
    "kind", ["in_progress", "queued", "output_text.annotation.added", "web_search_call.completed", "new"]
)
def test_other_events_mean_nothing(kind: str) -> None:
    assert [record.event for record in read([event(kind, delta="a", text="b")]).records] == ["start"]


def test_the_end_is_not_waited_for_by_the_gap_timeout() -> None:
    outcome = read([CREATED, text("a")])
    outcome.wait()
    assert outcome.stop is None
    outcome.feed(chunk_of(DONE))
    assert outcome.reason == "stop"


def test_parts_beyond_the_bound_are_dropped_and_counted() -> None:
    outcome = read(
        [*[text("a", number) for number in range(MAX_PARTS + 2)], added("call_a", "w", 99), arguments("1", 99), end()]
    )
    assert len(outcome.parts) == MAX_PARTS
    assert (outcome.dropped, outcome.reason) == (4, "tool_calls")


@pytest.mark.parametrize(
    ("value", "late"),
    [
        (text("a"), True),
        (summary("a"), True),
        (arguments("1"), True),
        (text(""), False),
        (event("output_text.done", content_index=0, text="a"), False),
        (item_done(type="function_call", call_id="c", name="w", arguments="1"), False),
        (end(), False),
        (DONE, False),
    ],
)
def test_after_the_end_only_deltas_are_late(value: Any, late: bool) -> None:
    outcome = read([text("a"), end()])
    outcome.feed(chunk_of(value))
    assert bool(outcome.late) is late
    assert outcome.parts == {"text": "a"}
