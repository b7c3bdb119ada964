import json
import time
import uuid
from typing import Any

import pytest
from multidict import CIMultiDict

from processor.bridge.asking import BridgeRequest, Mode, Rules, authorized, forwarded, make_response_id, read_request
from processor.bridge.refusals import Refusal
from processor.config.patterns import LinearPattern
from topics.openai_channel import ChannelTemplate

NO_RULES = Rules()
CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def ask(body: Any = CHAT, rules: Rules = NO_RULES, /, **headers: str) -> BridgeRequest:
    given = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return read_request(body if isinstance(body, bytes) else json.dumps(body).encode(), given, rules)


def sent(asked: BridgeRequest) -> Any:
    return json.loads(asked.body)


def refusal(body: Any = CHAT, rules: Rules = NO_RULES, /, **headers: str) -> Refusal:
    with pytest.raises(Refusal) as caught:
        ask(body, rules, **headers)
    return caught.value


def test_the_model_server_is_asked_for_a_stream_with_usage() -> None:
    asked = ask({**CHAT, "stream_options": {"chunk_size": 3}, "top_p": 0.25}, X_Tokenstream_Channel="chat:1")
    assert sent(asked) == {
        **CHAT,
        "top_p": 0.25,
        "stream": True,
        "stream_options": {"chunk_size": 3, "include_usage": True},
    }
    assert (asked.channel, asked.mode) == ("chat:1", Mode.WHOLE)


@pytest.mark.parametrize("options", [None, "x", [1], {"include_usage": False}])
def test_odd_stream_options_are_replaced(options: Any) -> None:
    asked = ask({**CHAT, "stream": True, "stream_options": options}, X_Tokenstream_Channel="c")
    assert sent(asked)["stream_options"] == {"include_usage": True}
    assert asked.mode is Mode.STREAM


def test_detach_is_a_mode_of_its_own() -> None:
    asked = ask({**CHAT, "stream": True}, X_Tokenstream_Channel="c", X_Tokenstream_Mode="Detach")
    assert asked.mode is Mode.DETACH
    assert refusal(X_Tokenstream_Channel="c", X_Tokenstream_Mode="later").status == 400


def test_the_callers_headers_go_on_but_ours_do_not() -> None:
    asked = ask(
        X_Tokenstream_Channel="c",
        X_Tokenstream_Token="s3cret",
        Authorization="Bearer caller",
        OpenAI_Organization="org",
        Host="bridge",
        Cookie="a=b",
        Accept_Encoding="gzip",
        Connection="keep-alive",
        Content_Length="5",
    )
    assert dict(asked.headers) == {"Authorization": "Bearer caller", "OpenAI-Organization": "org"}


def test_headers_that_connection_names_stay_here() -> None:
    given = CIMultiDict({"Connection": "close, X-Hop", "x-hop": "1", "X-Kept": "2"})
    given.add("X-Kept", "3")
    assert forwarded(given) == (("X-Kept", "2"), ("X-Kept", "3"))


@pytest.mark.parametrize("given", [(), (("api-key", "k"),), (("authorization", " "),)])
def test_the_bridges_key_is_for_callers_without_authorization(given: tuple[tuple[str, str], ...]) -> None:
    kept = tuple(header for header in given if header[0] == "api-key")
    assert authorized(given, "bridge") == (*kept, ("Authorization", "Bearer bridge"))
    assert authorized(given, None) == given
    assert authorized((("authorization", "Bearer caller"),), "bridge") == (("authorization", "Bearer caller"),)


def test_the_trace_context_is_kept() -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    asked = ask(X_Tokenstream_Channel="c", Traceparent=parent, Tracestate="a=b")
    assert asked.trace == (("traceparent", parent.encode()), ("tracestate", b"a=b"))


def test_an_id_is_made_where_none_is_given() -> None:
    asked = ask(X_Tokenstream_Channel="c")
    made = uuid.UUID(asked.response_id)
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert abs((made.int >> 80) - time.time() * 1000) < 60_000
    assert make_response_id() != asked.response_id
    assert ask(X_Tokenstream_Channel="c", X_Tokenstream_Response_Id="r-1").response_id == "r-1"


@pytest.mark.parametrize("given", ["..", "a\x07", "x" * 300])
def test_an_id_that_is_not_valid_is_refused(given: str) -> None:
    found = refusal(X_Tokenstream_Channel="c", X_Tokenstream_Response_Id=given)
    assert (found.status, found.code) == (400, "invalid_response_id")


@pytest.mark.parametrize("body", [b"", b"nothing", b"[]", b"7", b'{"t":NaN}', b'{"t":1e400}', b"[" * 100_000, b"\xff"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    assert refusal(body, X_Tokenstream_Channel="c").status == 400


def test_half_a_surrogate_pair_goes_on() -> None:
    body = '{"messages":[{"role":"user","content":"\\ud83d"}],"é":"é"}'.encode()
    assert sent(ask(body, X_Tokenstream_Channel="c"))["messages"][0]["content"] == "\ud83d"


def test_without_a_channel_the_request_is_refused() -> None:
    assert (refusal().status, refusal().code) == (400, "no_channel")
    assert refusal(X_Tokenstream_Channel=":x").code == "invalid_channel"


def test_a_template_gives_the_channel() -> None:
    rules = Rules(ChannelTemplate("chat:{user}:{header:X-Team}"))
    assert ask({**CHAT, "user": "u1"}, rules, X_TEAM="blue").channel == "chat:u1:blue"
    assert ask(CHAT, rules, X_Tokenstream_Channel="other").channel == "other"
    assert refusal(CHAT, rules, X_Team="blue").code == "no_channel"
    assert refusal({**CHAT, "user": 7}, rules, X_Team="blue").code == "no_channel"
    by_id = ask(CHAT, Rules(ChannelTemplate("r:{response_id}")), X_Tokenstream_Response_Id="r-1")
    assert by_id.channel == "r:r-1"


def test_a_channel_must_match_the_pattern() -> None:
    rules = Rules(pattern=LinearPattern("chat:.*"))
    assert refusal(CHAT, rules, X_Tokenstream_Channel="other").status == 403
    assert ask(CHAT, rules, X_Tokenstream_Channel="chat:1").channel == "chat:1"


def test_headers_that_are_not_utf8_are_a_refusal_or_left_as_they_are() -> None:
    asked = ask(X_Tokenstream_Channel="c", traceparent="\udcff")
    assert asked.trace == (("traceparent", b"\xff"),)
    by_header = Rules(ChannelTemplate("chat:{header:x-room}"))
    assert refusal(CHAT, by_header, X_Room="\udcff").status == 400
