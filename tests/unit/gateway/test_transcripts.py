"""What the gateway knows of a response is a prefix of what was produced, in bounded memory."""

import json
from typing import Any

import pytest

from processor.gateway.transcripts import TRANSCRIPT_COST, Transcripts
from support.gateway_log import part, read, record_value, start, stop, token

MIB = 1024 * 1024


def taken(*values: bytes, max_bytes: int = MIB) -> Transcripts:
    transcripts = Transcripts(max_bytes)
    for offset, value in enumerate(values):
        transcripts.apply(read(value, offset), 5_000)
    return transcripts


def shown(transcripts: Transcripts, response_id: str = "r1") -> Any:
    transcript = transcripts.transcript(response_id)
    assert transcript is not None
    return json.loads(transcript.snapshot(1).value)


def test_an_open_response_is_a_record_of_the_contract() -> None:
    info = {"name": "weather"}
    transcripts = taken(
        start(model="m"),
        token(1, 0, "Hel", seq_end=2),
        part(3, 0, "{}", "call_1", "tool_call", info),
        token(4, 3, "lo"),
    )
    assert shown(transcripts) == {
        "v": 1,
        "responseId": "r1",
        "channel": "chat:1",
        "status": "streaming",
        "reason": None,
        "error": None,
        "parts": [
            {"part": "text", "kind": "text", "text": "Hello", "length": 5},
            {"part": "call_1", "kind": "tool_call", "info": info, "text": "{}", "length": 2},
        ],
        "seq": 4,
        "tokens": 4,
        "gaps": [],
        "metadata": {"model": "m"},
        "usage": None,
        "startedAt": 1_000,
        "firstTokenAt": 1_000,
        "updatedAt": 1_000,
        "finishedAt": None,
        "relay": {},
    }


def test_a_stop_ends_it_before_its_record_comes() -> None:
    transcripts = taken(start(), token(1, 0, "Hi"), stop(2, {"text": "Hi"}, usage={"outputTokens": 1}))
    record = shown(transcripts)
    assert (record["status"], record["reason"], record["usage"]) == ("complete", "stop", {"outputTokens": 1})
    assert record["finishedAt"] == 1_000


def test_repeats_and_overlaps_add_nothing() -> None:
    transcripts = taken(start(), token(1, 0, "Hel"), start(), token(1, 0, "Hel"), token(1, 0, "Hello", seq_end=2))
    assert shown(transcripts)["parts"][0]["text"] == "Hello"


def test_a_response_known_from_its_middle_lacks_its_beginning_until_a_record_comes() -> None:
    transcripts = taken(token(5, 10, "lo"))
    transcript = transcripts.transcript("r1")
    assert transcript is not None
    assert transcript.lacks
    transcripts.take_record("r1", record_value(text="0123456789", seq=4), 6_000)
    assert not transcript.lacks
    assert shown(transcripts)["parts"][0]["text"] == "0123456789lo"


def test_a_record_ahead_of_the_frames_is_taken() -> None:
    transcripts = taken(start())
    transcripts.take_record("r1", record_value(text="Hello", seq=2), 6_000)
    assert shown(transcripts)["seq"] == 2


def test_a_final_record_replaces_the_transcript() -> None:
    transcripts = taken(start(), token(1, 0, "Hi"))
    final = record_value(text="Hi", seq=2, status="complete")
    transcripts.take_record("r1", final, 6_000)
    assert transcripts.transcript("r1") is None
    ended = transcripts.ended("r1")
    assert ended is not None
    assert ended.value == final
    transcripts.apply(read(token(1, 0, "Hi"), 9), 7_000)
    assert transcripts.open_in("chat:1") == []


def test_a_deleted_response_is_forgotten() -> None:
    transcripts = taken(start("a"), start("b"))
    transcripts.take_record("a", record_value("a", status="complete"), 6_000)
    for response_id in "ab":
        transcripts.take_record(response_id, None, 6_000)
    assert transcripts.ended("a") is None
    assert transcripts.open_in("chat:1") == []
    assert transcripts.bytes == 0


def test_what_is_no_record_is_refused() -> None:
    with pytest.raises(ValueError, match="truncated"):
        taken().take_record("r1", b"{", 0)


def test_responses_are_found_by_channel() -> None:
    transcripts = taken(start("a", "x"), start("b", "y"), start("c", "x"))
    assert transcripts.open_in("x") == ["a", "c"]
    transcripts.take_record("a", record_value("a", status="failed", channel="x"), 6_000)
    assert transcripts.open_in("x") == ["c"]
    assert [response_id for response_id, _ in transcripts.ended_in("x")] == ["a"]


def test_ended_records_leave_memory_before_open_texts() -> None:
    transcripts = taken(start("a"), start("b"), max_bytes=3 * TRANSCRIPT_COST)
    transcripts.take_record("a", record_value("a", "x" * TRANSCRIPT_COST, status="complete"), 6_000)
    ended = transcripts.ended("a")
    assert ended is not None
    assert ended.value is not None
    transcripts.apply(read(token(1, 0, "y" * TRANSCRIPT_COST, "b"), 9), 7_000)
    ended = transcripts.ended("a")
    assert ended is not None
    assert ended.value is None
    assert transcripts.bytes <= 3 * TRANSCRIPT_COST


def test_of_open_texts_the_idlest_leave_memory() -> None:
    transcripts = taken(
        start("a"),
        token(1, 0, "x" * 5_000, "a"),
        start("b"),
        token(1, 0, "y" * 5_000, "b"),
        max_bytes=2 * TRANSCRIPT_COST + 6_000,
    )
    idle, busy = transcripts.transcript("a"), transcripts.transcript("b")
    assert idle is not None
    assert busy is not None
    assert (idle.lacks, busy.lacks) == (True, False)
    assert transcripts.bytes <= 2 * TRANSCRIPT_COST + 6_000


def test_a_text_out_of_memory_comes_back_from_a_record_and_the_buffered_frames() -> None:
    transcripts = taken(start("a"), token(1, 0, "x" * 9_000, "a"), start("b"), max_bytes=2 * TRANSCRIPT_COST + 9_100)
    transcripts.apply(read(token(1, 0, "y" * 5_000, "b"), 5), 6_000)
    transcripts.apply(read(token(2, 9_000, "z", "a"), 6), 6_000)
    transcript = transcripts.transcript("a")
    assert transcript is not None
    assert transcript.lacks
    transcripts.complete("a", record_value("a", "x" * 9_000, seq=1), [read(token(2, 9_000, "z", "a"), 6)], 7_000)
    assert not transcript.lacks
    assert shown(transcripts, "a")["parts"][0]["text"] == "x" * 9_000 + "z"


def test_what_ended_long_ago_and_what_stands_still_is_forgotten() -> None:
    transcripts = taken(start("a"), start("b"))
    transcripts.take_record("a", record_value("a", status="complete", finishedAt=2_000), 6_000)
    transcripts.expire(2_000, 5_000)
    assert transcripts.ended("a") is not None
    assert transcripts.open_in("chat:1") == ["b"]
    transcripts.expire(2_001, 5_001)
    assert transcripts.ended("a") is None
    assert transcripts.open_in("chat:1") == []
    assert transcripts.bytes == 0
