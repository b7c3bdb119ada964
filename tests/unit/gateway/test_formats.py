"""One response in each format: the same text from a record, from frames, and from both."""

import json
from typing import Any

import pytest

from processor.gateway.deltas import FrameMissing
from processor.gateway.formats import FormattedStream, StreamFormat, headers_of, new_stream
from support.gateway_log import part, read, record_value, sha256, start, stop, token, units

CALL = {"name": "weather", "id": "call-x"}


def frames(stream: FormattedStream, *values: bytes) -> bytes:
    written = b""
    for offset, value in enumerate(values):
        found = read(value, offset)
        written += stream.of_frame(found.logged, found.frame, f"p1.0-{offset + 1}")
    return written


def given(stream: FormattedStream, value: bytes) -> bytes:
    return stream.of_record(json.loads(value), value, "p1.0-9")


def chunks(written: bytes) -> list[Any]:
    """What follows each `data:`; the last is `[DONE]` where the response ended."""
    lines = [line.removeprefix("data: ") for line in written.decode().split("\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def everything() -> list[bytes]:
    return [
        start(model="m-1"),
        part(1, 0, "Hm", "reasoning", "reasoning"),
        token(2, 0, "Hel"),
        part(3, 0, '{"city":', "call_1", "tool_call", CALL),
        token(4, 3, "lo"),
        part(5, 8, '"X"}', "call_1", "tool_call"),
        stop(
            6,
            {"reasoning": "Hm", "text": "Hello", "call_1": '{"city":"X"}'},
            reason="tool_calls",
            usage={"inputTokens": 3, "outputTokens": 5},
        ),
    ]


def openai_text(found: list[Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in found[:-1] for choice in chunk["choices"])


def test_the_own_format_is_a_snapshot_and_frames() -> None:
    stream = new_stream(StreamFormat.TOKENSTREAM, "r1")
    written = given(stream, record_value(text="Hel", seq=1)) + frames(stream, token(2, 3, "lo"))
    assert not stream.ended
    written += frames(stream, stop(3, {"text": "Hello"}))
    assert stream.ended
    names = [line.removeprefix("event: ") for line in written.decode().split("\n") if line.startswith("event: ")]
    assert names == ["snapshot", "token", "stop"]


def test_a_finished_record_is_the_whole_stream() -> None:
    for wanted in StreamFormat:
        stream = new_stream(wanted, "r1")
        assert given(stream, record_value(text="Hi", seq=2, status="complete"))
        assert stream.ended


def test_openai_chunks_are_those_of_the_servers() -> None:
    stream = new_stream(StreamFormat.OPENAI, "r1")
    found = chunks(frames(stream, *everything()))
    assert found[-1] == "[DONE]"
    assert {(chunk["id"], chunk["object"], chunk["model"]) for chunk in found[:-1]} == {
        ("r1", "chat.completion.chunk", "m-1")
    }
    deltas = [(choice["delta"], choice["finish_reason"]) for chunk in found[:-1] for choice in chunk["choices"]]
    assert deltas == [
        ({"role": "assistant", "content": ""}, None),
        ({"reasoning_content": "Hm"}, None),
        ({"content": "Hel"}, None),
        (
            {
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "call-x",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city":'},
                    }
                ]
            },
            None,
        ),
        ({"content": "lo"}, None),
        ({"tool_calls": [{"index": 0, "function": {"arguments": '"X"}'}}]}, None),
        ({}, "tool_calls"),
    ]
    assert found[-2]["choices"] == []
    assert found[-2]["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 5,
        "total_tokens": 8,
        "inputTokens": 3,
        "outputTokens": 5,
    }


def test_usage_of_openai_is_kept_as_sent() -> None:
    stream = new_stream(StreamFormat.OPENAI, "r1")
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    found = chunks(frames(stream, start(), stop(1, {}, usage=usage)))
    assert found[-2]["usage"] == usage


def test_choices_come_apart_by_the_prefix_of_the_part() -> None:
    stream = new_stream(StreamFormat.OPENAI, "r1")
    found = chunks(frames(stream, start(), token(1, 0, "A"), part(2, 0, "B", "1.text", "text")))
    texts = [(choice["index"], choice["delta"]) for chunk in found for choice in chunk["choices"]]
    assert (0, {"content": "A"}) in texts
    assert (1, {"content": "B"}) in texts


@pytest.mark.parametrize("status", ["failed", "abandoned"])
def test_a_failure_is_an_error_object_of_openai(status: str) -> None:
    stream = new_stream(StreamFormat.OPENAI, "r1")
    ended = stop(2, {"text": "Hi"}, reason="error", status=status, error={"code": "boom", "message": "It broke."})
    found = chunks(frames(stream, start(), token(1, 0, "Hi"), ended))
    assert found[-2:] == [{"error": {"message": "It broke.", "type": status, "code": "boom"}}, "[DONE]"]


def test_ui_chunks_are_those_of_the_ai_sdk() -> None:
    stream = new_stream(StreamFormat.UI_MESSAGE, "r1")
    assert chunks(frames(stream, *everything())) == [
        {"type": "start", "messageId": "r1", "messageMetadata": {"model": "m-1"}},
        {"type": "start-step"},
        {"type": "reasoning-start", "id": "reasoning"},
        {"type": "reasoning-delta", "id": "reasoning", "delta": "Hm"},
        {"type": "text-start", "id": "text"},
        {"type": "text-delta", "id": "text", "delta": "Hel"},
        {"type": "tool-input-start", "toolCallId": "call-x", "toolName": "weather"},
        {"type": "tool-input-delta", "toolCallId": "call-x", "inputTextDelta": '{"city":'},
        {"type": "text-delta", "id": "text", "delta": "lo"},
        {"type": "tool-input-delta", "toolCallId": "call-x", "inputTextDelta": '"X"}'},
        {"type": "reasoning-end", "id": "reasoning"},
        {"type": "text-end", "id": "text"},
        {"type": "tool-input-available", "toolCallId": "call-x", "toolName": "weather", "input": {"city": "X"}},
        {"type": "finish-step"},
        {
            "type": "finish",
            "finishReason": "tool-calls",
            "messageMetadata": {"reason": "tool_calls", "usage": {"inputTokens": 3, "outputTokens": 5}},
        },
        "[DONE]",
    ]


@pytest.mark.parametrize(
    ("status", "last"),
    [
        ("cancelled", {"type": "abort"}),
        ("failed", {"type": "error", "errorText": "It broke."}),
        ("abandoned", {"type": "error", "errorText": "It broke."}),
    ],
)
def test_an_unhappy_end_is_the_last_ui_chunk(status: str, last: dict[str, str]) -> None:
    stream = new_stream(StreamFormat.UI_MESSAGE, "r1")
    reason = "cancelled" if status == "cancelled" else "error"
    ended = stop(2, {"text": "Hi"}, reason=reason, status=status, error={"code": "boom", "message": "It broke."})
    found = chunks(frames(stream, start(), token(1, 0, "Hi"), ended))
    assert found[-2:] == [last, "[DONE]"]
    assert {"type": "text-end", "id": "text"} in found


def test_arguments_that_are_no_json_are_an_input_error() -> None:
    stream = new_stream(StreamFormat.UI_MESSAGE, "r1")
    found = chunks(
        frames(stream, start(), part(1, 0, "{", "call_1", "tool_call", CALL), stop(2, {"call_1": "{"}, reason="stop"))
    )
    assert [chunk["type"] for chunk in found[:-1] if chunk["type"].startswith("tool-input-")][-1] == "tool-input-error"


def test_the_header_of_the_ai_sdk_is_on_its_format_only() -> None:
    assert headers_of(StreamFormat.UI_MESSAGE) == {"x-vercel-ai-ui-message-stream": "v1"}
    assert headers_of(StreamFormat.OPENAI) == {}


@pytest.mark.parametrize("wanted", [StreamFormat.OPENAI, StreamFormat.UI_MESSAGE])
def test_text_that_is_missing_asks_for_a_record(wanted: StreamFormat) -> None:
    stream = new_stream(wanted, "r1")
    frames(stream, start(), token(1, 0, "He"))
    with pytest.raises(FrameMissing):
        frames(stream, token(3, 4, "o"))
    with pytest.raises(FrameMissing):
        frames(stream, stop(4, {"text": "Hello"}))
    written = given(stream, record_value(text="Hello", seq=4))
    assert "llo" in written.decode()
    frames(stream, stop(5, {"text": "Hello"}))
    assert stream.ended


@pytest.mark.parametrize("wanted", [StreamFormat.OPENAI, StreamFormat.UI_MESSAGE])
def test_nothing_follows_the_end(wanted: StreamFormat) -> None:
    stream = new_stream(wanted, "r1")
    frames(stream, *everything())
    assert frames(stream, token(9, 99, "x")) == b""
    assert given(stream, record_value(text="x", seq=9)) == b""


def test_a_text_beyond_the_basic_plane_comes_whole() -> None:
    text = "a😀b"
    stream = new_stream(StreamFormat.OPENAI, "r1")
    found = chunks(frames(stream, start(), token(1, 0, "a😀"), token(1, 0, text, seq_end=2), stop(3, {"text": text})))
    assert openai_text(found) == text
    assert (units(text), sha256(text)) == (4, sha256(text))
