"""Any bytes give a record or the reason why not, and what the producer writes comes back."""

import json
import re
from typing import Any

import pytest

from support.token_records import START, STOP, TOKEN, decoded
from topics.codec import (
    MAX_OBJECT_BYTES,
    MAX_OBJECT_DEPTH,
    MAX_SEQ,
    MAX_TEXT_BYTES,
    Decoder,
    Invalid,
    TokenRecord,
    decode_record,
)
from topics.records import Reason


def written(base: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({name: field for name, field in {**base, **changes}.items() if field is not ...}).encode()


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(depth - 1):
        found = {"x": found}
    return found


def test_the_examples_of_the_format_decode() -> None:
    start = decoded(
        b'{"v":1,"event":"start","responseId":"r-8f2c","seq":0,"channel":"chat:42","ts":1763860000000,"metadata":{"model":"m-large","userId":"u1"}}'
    )
    assert (start.event, start.seq, start.channel, start.ts) == ("start", 0, "chat:42", 1763860000000)
    assert start.metadata == {"model": "m-large", "userId": "u1"}
    token = decoded(b'{"v":1,"event":"token","responseId":"r-8f2c","seq":1,"text":"Hel","ts":1763860000031}')
    assert (token.text, token.kind, token.part, token.unpaired) == ("Hel", "text", "text", False)
    call = decoded(
        b'{"v":1,"event":"token","responseId":"r-8f2c","seq":2,"text":"{\\"city\\":","kind":"tool_call","part":"call_1","partInfo":{"name":"weather"}}'
    )
    assert (call.text, call.kind, call.part, call.part_info) == ('{"city":', "tool_call", "call_1", {"name": "weather"})
    stop = decoded(b'{"v":1,"event":"stop","responseId":"r-8f2c","seq":3,"usage":{"inputTokens":12}}')
    assert (stop.reason, stop.usage, stop.error) == ("stop", {"inputTokens": 12}, None)


BAD: list[tuple[str, bytes | None, Reason]] = [
    ("null", None, Reason.NOT_JSON),
    ("empty", b"", Reason.NOT_JSON),
    ("text", b"hello", Reason.NOT_JSON),
    ("cut off", b'{"event":"token"', Reason.NOT_JSON),
    ("two values", b"{} {}", Reason.NOT_JSON),
    ("byte order mark", b"\xef\xbb\xbf" + written(TOKEN), Reason.NOT_JSON),
    ("UTF-16", written(TOKEN).decode().encode("utf-16"), Reason.NOT_JSON),
    ("broken UTF-8 in text", b'{"event":"token","responseId":"r","text":"\xff"}', Reason.NOT_JSON),
    ("broken UTF-8 in an unknown field", b'{"event":"token","responseId":"r","text":"a","zz":"\xff"}', Reason.NOT_JSON),
    ("broken UTF-8 in an unknown name", b'{"event":"token","responseId":"r","text":"a","z\xff":1}', Reason.NOT_JSON),
    ("surrogate in UTF-8", b'{"event":"token","responseId":"r","text":"\xed\xa0\xbd"}', Reason.NOT_JSON),
    ("NaN", b'{"event":"token","responseId":"r","text":"a","zz":NaN}', Reason.NOT_JSON),
    ("Infinity", b'{"event":"start","responseId":"r","channel":"c","metadata":{"a":-Infinity}}', Reason.NOT_JSON),
    ("raw newline in a string", b'{"event":"token","responseId":"r","text":"a\nb"}', Reason.NOT_JSON),
    ("open brackets without end", b"[" * 100_000, Reason.NOT_JSON),
    ("schema prefix alone", b"\x00\x00\x00\x00\x01", Reason.NOT_JSON),
    ("schema prefix cut", b"\x00\x00", Reason.NOT_JSON),
    ("array", b"[]", Reason.INVALID),
    ("string", b'"start"', Reason.INVALID),
    ("number", b"1", Reason.INVALID),
    ("JSON null", b"null", Reason.INVALID),
    ("version 2", written(TOKEN, v=2), Reason.VERSION),
    ("version 2 of an unknown event", b'{"v":2,"event":{"new":1}}', Reason.VERSION),
    ("version 2 and nothing else", b'{"v":2}', Reason.VERSION),
    ("a very high version", b'{"v":' + b"9" * 5000 + b"}", Reason.VERSION),
    ("version 0", written(TOKEN, v=0), Reason.INVALID),
    ("version -1", written(TOKEN, v=-1), Reason.INVALID),
    ("version as a string", written(TOKEN, v="1"), Reason.INVALID),
    ("version true", written(TOKEN, v=True), Reason.INVALID),
    ("version null", written(TOKEN, v=None), Reason.INVALID),
    ("version 1.0", written(TOKEN, v=1.0), Reason.INVALID),
    ("version 1.5", written(TOKEN, v=1.5), Reason.INVALID),
    ("empty object", b"{}", Reason.INVALID),
    ("no event", written(TOKEN, event=...), Reason.INVALID),
    ("unknown event", written(TOKEN, event="pause"), Reason.INVALID),
    ("event in capitals", written(TOKEN, event="Token"), Reason.INVALID),
    ("event as a number", written(TOKEN, event=1), Reason.INVALID),
    ("event as a list", written(TOKEN, event=["token"]), Reason.INVALID),
    ("no responseId", written(TOKEN, responseId=...), Reason.INVALID),
    ("empty responseId", written(TOKEN, responseId=""), Reason.INVALID),
    ("responseId .", written(TOKEN, responseId="."), Reason.INVALID),
    ("responseId ..", written(TOKEN, responseId=".."), Reason.INVALID),
    ("control character in responseId", written(TOKEN, responseId="r\n-1"), Reason.INVALID),
    ("C1 control character in responseId", written(TOKEN, responseId="r\x85-1"), Reason.INVALID),
    ("lone surrogate in responseId", written(TOKEN, responseId="r\ud83d-1"), Reason.INVALID),
    ("responseId as a number", written(TOKEN, responseId=1), Reason.INVALID),
    ("long responseId", written(TOKEN, responseId="r" * 257), Reason.TOO_LARGE),
    ("long responseId in bytes", written(TOKEN, responseId="é" * 129), Reason.TOO_LARGE),
    ("seq of a start not 0", written(START, seq=1), Reason.INVALID),
    ("seq of a token 0", written(TOKEN, seq=0), Reason.INVALID),
    ("seq of a stop 0", written(STOP, seq=0), Reason.INVALID),
    ("negative seq", written(TOKEN, seq=-1), Reason.INVALID),
    ("seq true", written(TOKEN, seq=True), Reason.INVALID),
    ("fractional seq", written(TOKEN, seq=1.5), Reason.INVALID),
    ("seq 1.0", written(TOKEN, seq=1.0), Reason.INVALID),
    ("seq as a string", written(TOKEN, seq="1"), Reason.INVALID),
    ("seq above 2^53-1", written(TOKEN, seq=2**53), Reason.INVALID),
    ("seq above 64 bits", written(TOKEN, seq=2**70), Reason.INVALID),
    ("seq of 5000 digits", b'{"event":"token","responseId":"r","text":"a","seq":' + b"9" * 5000 + b"}", Reason.INVALID),
    ("ts as a string", written(TOKEN, ts="now"), Reason.INVALID),
    ("negative ts", written(TOKEN, ts=-1), Reason.INVALID),
    ("no channel", written(START, channel=...), Reason.INVALID),
    ("channel null", written(START, channel=None), Reason.INVALID),
    ("empty channel", written(START, channel=""), Reason.INVALID),
    ("channel as a number", written(START, channel=5), Reason.INVALID),
    ("channel with parameters", written(START, channel="[rewind=1]chat"), Reason.INVALID),
    ("channel without namespace", written(START, channel=":chat"), Reason.INVALID),
    ("control character in channel", written(START, channel="chat\x00"), Reason.INVALID),
    ("long channel", written(START, channel="c" * 1025), Reason.INVALID),
    ("long channel in bytes", written(START, channel="漢" * 342), Reason.INVALID),
    ("ts above 2^53-1", written(TOKEN, ts=2**53), Reason.INVALID),
    ("lone surrogate in channel", written(START, channel="chat\ud83d"), Reason.INVALID),
    ("no text", written(TOKEN, text=...), Reason.INVALID),
    ("text null", written(TOKEN, text=None), Reason.INVALID),
    ("text as a number", written(TOKEN, text=1), Reason.INVALID),
    ("long text", written(TOKEN, text="x" * (MAX_TEXT_BYTES + 1)), Reason.TOO_LARGE),
    ("long text in bytes", written(TOKEN, text="é" * (MAX_TEXT_BYTES // 2 + 1)), Reason.TOO_LARGE),
    ("kind in capitals", written(TOKEN, kind="Tool"), Reason.INVALID),
    ("empty kind", written(TOKEN, kind=""), Reason.INVALID),
    ("long kind", written(TOKEN, kind="k" * 33), Reason.INVALID),
    ("kind with a newline", written(TOKEN, kind="tool\n"), Reason.INVALID),
    ("kind as a number", written(TOKEN, kind=1), Reason.INVALID),
    ("empty part", written(TOKEN, part=""), Reason.INVALID),
    ("part as a number", written(TOKEN, part=1), Reason.INVALID),
    ("long part", written(TOKEN, kind="tool_call", part="p" * 65), Reason.TOO_LARGE),
    ("lone surrogate in part", written(TOKEN, kind="tool_call", part="p\ud83d"), Reason.INVALID),
    ("part text of another kind", written(TOKEN, kind="tool_call", part="text"), Reason.INVALID),
    ("partInfo as a list", written(TOKEN, kind="tool_call", partInfo=[]), Reason.INVALID),
    ("large partInfo", written(TOKEN, kind="tool_call", partInfo={"x": "y" * MAX_OBJECT_BYTES}), Reason.TOO_LARGE),
    ("metadata as a string", written(START, metadata="x"), Reason.INVALID),
    ("large metadata", written(START, metadata={"x": "y" * MAX_OBJECT_BYTES}), Reason.TOO_LARGE),
    ("deep metadata", written(START, metadata=nested(MAX_OBJECT_DEPTH + 1)), Reason.TOO_LARGE),
    ("unknown reason", written(STOP, reason="bored"), Reason.INVALID),
    ("a reason only the relay gives", written(STOP, reason="abandoned"), Reason.INVALID),
    ("reason as a number", written(STOP, reason=1), Reason.INVALID),
    ("usage as a number", written(STOP, usage=1), Reason.INVALID),
    ("deep usage", written(STOP, usage=nested(33)), Reason.TOO_LARGE),
    ("error as a string", written(STOP, reason="error", error="x"), Reason.INVALID),
    ("large error", written(STOP, reason="error", error={"message": "x" * MAX_OBJECT_BYTES}), Reason.TOO_LARGE),
    ("an unknown field nested beyond reason", b'{"event":"stop","responseId":"r","zz":' + b"[" * 600 + b"]" * 600 + b"}", Reason.TOO_LARGE),
]  # fmt: skip


@pytest.mark.parametrize(("value", "reason"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_value_is_told_by_its_reason(value: bytes | None, reason: Reason) -> None:
    wrong = decode_record(value)
    assert isinstance(wrong, Invalid), wrong
    assert wrong.reason is reason
    assert wrong.detail


GOOD: list[tuple[str, bytes]] = [
    ("an unknown field", written(TOKEN, zz={"a": [1, None]})),
    ("a number of 5000 digits in an unknown field", written(TOKEN)[:-1] + b',"zz":' + b"9" * 5000 + b"}"),
    ("an infinite number in an unknown field", written(TOKEN)[:-1] + b',"zz":1e999}'),
    ("a lone surrogate in an unknown field", written(TOKEN, zz="\ud83d")),
    ("a deep unknown field", written(TOKEN)[:-1] + b',"zz":' + b"[" * 500 + b"]" * 500 + b"}"),
    ("brackets in a string", written(TOKEN, text="[{" * 1000)),
    ("a channel of another type on a token", written(TOKEN, channel=5)),
    ("metadata of another type on a token", written(TOKEN, metadata=[1], usage="x", reason=0, error=1)),
    ("text of another type on a start", written(START, text=5, kind="NO", part=[], partInfo=1)),
    ("deep metadata on a token", written(TOKEN, metadata=nested(40))),
    ("an error of another type without reason error", written(STOP, error=5)),
    ("a field named unpaired", written(TOKEN, unpaired="yes")),
    ("nulls for what may be missing", written(TOKEN, seq=None, ts=None, kind=None, part=None, partInfo=None)),
    ("metadata null", written(START, metadata=None)),
    ("no seq", written(TOKEN, seq=...)),
    ("the highest seq", written(TOKEN, seq=MAX_SEQ)),
    ("an empty text", written(TOKEN, text="")),
    ("the longest text", written(TOKEN, text="x" * MAX_TEXT_BYTES)),
    ("a text longer escaped than allowed", written(TOKEN, text="\x01" * MAX_TEXT_BYTES)),
    ("the longest responseId", written(TOKEN, responseId="é" * 128)),
    ("a short responseId", written(TOKEN, responseId="r")),
    ("three dots", written(TOKEN, responseId="...")),
    ("the longest part", written(TOKEN, kind="tool_call", part="é" * 64)),
    ("part text named", written(TOKEN, kind="text", part="text")),
    ("another part of kind text", written(TOKEN, part="summary")),
    ("the deepest metadata", written(START, metadata=nested(MAX_OBJECT_DEPTH))),
    ("metadata with the largest numbers", written(START, metadata={"a": -(2**63), "b": 2**64 - 1})),
    ("a repeated field", b'{"event":"start","event":"stop","responseId":1,"responseId":"r"}'),
    ("whitespace around", b" \n" + written(TOKEN) + b"\r\n\t"),
    ("reason error without error", written(STOP, reason="error")),
    ("all reasons", written(STOP, reason="content_filter")),
]  # fmt: skip


@pytest.mark.parametrize("value", [case[1] for case in GOOD], ids=[case[0] for case in GOOD])
def test_what_the_format_allows_is_taken(value: bytes) -> None:
    assert decoded(value).unpaired is False
    assert decoded(b"\x00\x00\x00\x00\x07" + value) == decoded(value)


def test_a_kind_names_its_part() -> None:
    record = decoded(written(TOKEN, kind="reasoning"))
    assert (record.kind, record.part) == ("reasoning", "reasoning")


def test_null_kind_and_part_are_the_answer_text() -> None:
    record = decoded(written(TOKEN, kind=None, part=None))
    assert (record.kind, record.part) == ("text", "text")


def test_an_error_counts_with_reason_error_only() -> None:
    assert decoded(written(STOP, error={"code": "x"})).error is None
    assert decoded(written(STOP, reason="error", error={"code": "x"})).error == {"code": "x"}


def test_a_channel_must_match_the_whole_pattern() -> None:
    decode = Decoder(re.compile(r"chat:\d+")).decode
    assert isinstance(decode(written(START, channel="chat:42")), TokenRecord)
    for channel in ("chat:42x", "xchat:42", "chat:"):
        wrong = decode(written(START, channel=channel))
        assert isinstance(wrong, Invalid)
        assert wrong.reason is Reason.CHANNEL_FORBIDDEN
    assert isinstance(decode(written(TOKEN, channel="other")), TokenRecord)


@pytest.mark.parametrize(
    ("text", "kept", "unpaired"),
    [
        ("a\ud83d", "a\ud83d", True),
        ("\ude00b", "\ude00b", True),
        ("\ude00b\ud83d", "\ude00b\ud83d", True),
        ("\ud83d", "\ud83d", True),
        ("\ude00", "\ude00", True),  # noqa: PT014 - ruff takes all surrogates for one
        ("a\ud83db", "a\ufffdb", False),
        ("a\ude00", "a\ufffd", False),
        ("\ud83db", "\ufffdb", False),
        ("\ude00\ude00", "\ude00\ufffd", True),
        ("\ud83d\ud83d", "\ufffd\ud83d", True),  # noqa: PT014
        ("a\n\ude00", "a\n\ufffd", False),
        ("\ud83d\n", "\ufffd\n", False),
        ("\U0001f600", "\U0001f600", False),
    ],
)
def test_half_a_pair_is_kept_where_the_next_event_may_join_it(text: str, kept: str, unpaired: bool) -> None:
    record = decoded(written(TOKEN, text=text))
    assert (record.text, record.unpaired) == (kept, unpaired)


def test_a_pair_split_by_escapes_is_one_character() -> None:
    value = b'{"event":"token","responseId":"r","text":"\\ud83d\\ude00","zz":"\\ud83d"}'
    assert (decoded(value).text, decoded(value).unpaired) == ("\U0001f600", False)


def test_half_a_pair_in_an_object_is_replaced_wherever_it_stands() -> None:
    record = decoded(written(START, metadata={"a\ud83d": ["x\ude00", {"b": "\U0001f600"}]}))
    assert record.metadata == {"a\ufffd": ["x\ufffd", {"b": "\U0001f600"}]}


def test_the_answer_does_not_depend_on_the_free_stack() -> None:
    values = [case[1] for case in GOOD]

    def at_depth(left: int) -> list[TokenRecord | Invalid]:
        return at_depth(left - 1) if left else [decode_record(value) for value in values]

    assert at_depth(300) == [decode_record(value) for value in values]


def test_details_quote_nothing_of_the_value() -> None:
    for _, value, _ in BAD:
        wrong = decode_record(value)
        assert isinstance(wrong, Invalid)
        assert len(wrong.detail) < 120
        assert wrong.detail.isprintable()
