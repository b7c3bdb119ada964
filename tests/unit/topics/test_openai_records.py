"""Which records are in OpenAI's format, which response they belong to, and which channel that has."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topics.limits import Invalid
from topics.openai import Body, Chunk, Format, Headers, identify, recognize
from topics.openai_channel import ChannelTemplate, channel_of
from topics.records import Reason

FORCED = [("content-type", b"application/vnd.openai.chunk+json")]
CHUNK = {"id": "c1", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}
RESPONSES_DELTA = {"type": "response.output_text.delta", "delta": "Hi", "output_index": 0, "content_index": 0}


def encoded(fields: Any) -> bytes:
    return json.dumps(fields).encode()


OPENAI = {
    "a chunk by its object": {"object": "chat.completion.chunk"},
    "a chunk of another API": {"object": "text.chunk"},
    "choices": {"choices": []},
    "choices that are null": {"id": "c1", "choices": None},
    "an error object": {"error": {"message": "m"}},
    "an error text": {"error": "m"},
    "an event of the Responses API": {"type": "response.created"},
    "the error event of the Responses API": {"type": "error", "code": "server_error", "message": "m"},
    "a null event": {"event": None, "choices": []},
}
OURS = {
    "a token": {"event": "token", "responseId": "r", "text": "t"},
    "an event beside choices": {"event": "token", "choices": []},
    "only a version": {"v": 2},
    "a version and an error": {"v": 2, "error": {}},
    "nothing known": {"a": 1},
    "an object of another kind": {"object": "chat.completion"},
    "another type": {"type": "ping"},
    "a type that is no text": {"type": ["response."], "object": 5},
    "an array": [CHUNK],
    "a text": "[DONE]",
    "a number": 5,
    "nothing": None,
}


@pytest.mark.parametrize("fields", OPENAI.values(), ids=OPENAI)
def test_auto_takes_what_looks_like_openai(fields: Any) -> None:
    assert recognize(encoded(fields)) == Body(fields)
    assert recognize(encoded(fields), (), Format.TOKENSTREAM) is None


@pytest.mark.parametrize("fields", OURS.values(), ids=OURS)
def test_auto_leaves_everything_else(fields: Any) -> None:
    assert recognize(encoded(fields)) is None


@pytest.mark.parametrize("value", [None, b"", b"data:", b"hello", b"{", b"\xff", b"[" * 2000, b"data: nothing"])
def test_auto_leaves_what_is_not_json(value: bytes | None) -> None:
    assert recognize(value) is None


@pytest.mark.parametrize("tokens_format", Format)
@pytest.mark.parametrize(
    "content_type",
    [b"application/vnd.openai.chunk+json", b"Application/VND.openai.chunk+JSON; charset=utf-8"],
)
def test_the_content_type_forces(tokens_format: Format, content_type: bytes) -> None:
    value = {"event": "token", "v": 1}
    assert recognize(encoded(value), [("content-type", content_type)], tokens_format) == Body(value)


@pytest.mark.parametrize("headers", [None, (), [("content-type", b"application/json")], [("content-type", None)]])
def test_another_content_type_forces_nothing(headers: Headers | None) -> None:
    assert recognize(encoded({"a": 1}), headers) is None


def test_the_format_openai_takes_every_object() -> None:
    assert recognize(encoded({"event": "token"}), (), Format.OPENAI) == Body({"event": "token"})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, Reason.NOT_JSON),
        (b"", Reason.NOT_JSON),
        (b"{", Reason.NOT_JSON),
        (b'{"a":NaN}', Reason.NOT_JSON),
        (b'{"a":"\xff"}', Reason.NOT_JSON),
        (encoded(CHUNK) + b"\n" + encoded(CHUNK), Reason.NOT_JSON),
        (encoded([CHUNK]), Reason.INVALID),
        (b"5", Reason.INVALID),
        (b"null", Reason.INVALID),
        (b'"[DONE]"', Reason.INVALID),
        (b'{"a":' * 600 + b"1" + b"}" * 600, Reason.TOO_LARGE),
    ],
)
def test_a_forced_record_that_is_no_object_says_why(value: bytes | None, reason: Reason) -> None:
    found = recognize(value, FORCED)
    assert isinstance(found, Invalid)
    assert found.reason is reason


@pytest.mark.parametrize("prefix", [b"", b"data: ", b"data:", b"  data:  ", b"\0\0\0\0\1", b"\0\0\0\0\1data: "])
@pytest.mark.parametrize("suffix", [b"", b"\n\n", b"\r\n"])
def test_the_prefix_of_server_sent_events_is_dropped(prefix: bytes, suffix: bytes) -> None:
    assert recognize(prefix + encoded(CHUNK) + suffix) == Body(CHUNK)
    assert recognize(prefix + b"[DONE]" + suffix) == Body({}, done=True)


def test_half_a_surrogate_pair_is_read() -> None:
    assert recognize(b'{"choices":[{"text":"\\ud83d"}]}') == Body({"choices": [{"text": "\ud83d"}]})


# Which response


def identified(fields: Any, key: bytes | None = b"k", **headers: bytes) -> Chunk | Invalid | None:
    body = Body({}, done=True) if fields == "[DONE]" else Body(fields)
    return identify(body, key, [(name.replace("_", "-"), value) for name, value in headers.items()])


def id_of(fields: Any, key: bytes | None = b"k", **headers: bytes) -> str:
    found = identified(fields, key, **headers)
    assert isinstance(found, Chunk), found
    return found.response_id


def test_the_header_wins_over_the_id() -> None:
    assert id_of(CHUNK, response_id=b"r-1", channel=b"chat:42") == "r-1"


def test_the_last_header_of_a_name_counts() -> None:
    found = identify(Body(CHUNK), b"k", [("response-id", b"a"), ("response-id", b"b")])
    assert isinstance(found, Chunk)
    assert found.response_id == "b"


@pytest.mark.parametrize("header", [{}, {"response_id": b""}, {"channel": b"chat:42"}])
def test_the_id_wins_over_the_key(header: dict[str, bytes]) -> None:
    assert id_of(CHUNK, **header) == "c1"


@pytest.mark.parametrize("given", ["", None, 5, ["c1"], {}])
def test_without_an_id_the_key_is_it(given: object) -> None:
    assert id_of({**CHUNK, "id": given}) == "k"


def test_beside_a_channel_the_key_is_no_id() -> None:
    found = identified({**CHUNK, "id": ""}, channel=b"chat:42")
    assert isinstance(found, Invalid)
    assert found.reason is Reason.INVALID


def test_an_error_goes_by_the_key() -> None:
    assert id_of({"error": {"message": "m"}}) == "k"
    assert id_of({"type": "error", "error": {"message": "m"}}) == "k"


def test_without_key_and_id_it_says_what_to_set() -> None:
    found = identified({**CHUNK, "id": ""}, key=None)
    assert isinstance(found, Invalid)
    assert found.reason is Reason.NO_KEY
    assert "response-id" in found.detail


@pytest.mark.parametrize(
    ("fields", "key", "headers"),
    [
        ({**CHUNK, "id": "c\n1"}, b"k", {}),
        ({**CHUNK, "id": ".."}, b"k", {}),
        ({**CHUNK, "id": "\ud83d"}, b"k", {}),
        ({**CHUNK, "id": "c" * 257}, b"k", {}),
        ({**CHUNK, "id": ""}, b"\xff", {}),
        ({**CHUNK, "id": ""}, b"k\0", {}),
        (CHUNK, b"k", {"response_id": b"\xff"}),
        (CHUNK, b"k", {"response_id": b"r\n1"}),
    ],
)
def test_what_can_be_no_id_is_invalid(fields: Any, key: bytes, headers: dict[str, bytes]) -> None:
    assert isinstance(identified(fields, key, **headers), Invalid)


def test_a_responses_event_has_its_id_in_the_response() -> None:
    assert id_of({"type": "response.created", "id": "no", "response": {"id": "resp_1"}}) == "resp_1"
    assert id_of({"type": "response.created", "response": {"id": "resp_1"}}, response_id=b"r-1") == "r-1"


@pytest.mark.parametrize(
    "fields",
    [
        RESPONSES_DELTA,
        {"type": "response.completed", "response": {"id": ""}},
        {"type": "response.completed", "response": "resp_1"},
        {"type": "error", "code": "c", "message": "m"},
    ],
)
def test_a_responses_event_without_an_id_needs_the_header(fields: Any) -> None:
    assert id_of(fields, response_id=b"r-1") == "r-1"
    found = identified(fields)
    assert isinstance(found, Invalid)
    assert found.reason is Reason.INVALID
    assert "response-id" in found.detail


NOTHING = {
    "Azure's first chunk": {"id": "", "choices": [], "prompt_filter_results": []},
    "filter results": {"id": "", "choices": [{"index": 0, "finish_reason": None, "content_filter_results": {}}]},
    "choices of nothing": {"id": "", "choices": [None, 5, {}]},
    "null choices": {"id": "", "choices": None},
    "no error": {"error": None},
    "usage": {"id": "", "choices": [], "usage": {"prompt_tokens": 1}},
    "the end": "[DONE]",
}


@pytest.mark.parametrize("fields", NOTHING.values(), ids=NOTHING)
def test_a_record_of_nothing_opens_a_response_only_by_the_header(fields: Any) -> None:
    by_header, by_key = identified(fields, response_id=b"r-1"), identified(fields)
    assert isinstance(by_header, Chunk)
    assert isinstance(by_key, Chunk)
    assert (by_header.opens, by_key.opens) == (True, False)


@pytest.mark.parametrize("fields", [*NOTHING.values(), {"type": "response.content_part.added"}])
def test_a_record_of_nothing_that_belongs_nowhere_is_no_dead_letter(fields: Any) -> None:
    assert identified(fields, channel=b"chat:42") is None


def test_usage_with_an_id_opens_nothing() -> None:
    found = identified({"id": "c1", "choices": [], "usage": {}})
    assert isinstance(found, Chunk)
    assert not found.opens


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "c1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
        {"id": "c1", "choices": [{"text": ""}]},
        {"id": "c1", "choices": [{"finish_reason": "stop"}]},
        {"error": "m"},
        {"type": "response.created", "response": {"id": "resp_1"}},
    ],
)
def test_a_record_that_says_something_opens(fields: Any) -> None:
    found = identified(fields)
    assert isinstance(found, Chunk)
    assert found.opens


# Which channel


def test_the_header_gives_the_channel() -> None:
    assert channel_of("r", b"k", [("channel", b"chat:42")], ChannelTemplate("x:{key}")) == "chat:42"


def test_the_template_gives_the_channel() -> None:
    headers = [("tenant", b"t1"), ("channel", b"")]
    template = ChannelTemplate("c:{key}:{response_id}:{header:tenant}")
    assert channel_of("r", b"k", headers, template) == "c:k:r:t1"


def test_a_value_with_braces_is_taken_as_it_is() -> None:
    assert channel_of("{key}", b"{response_id}", (), ChannelTemplate("{response_id}-{key}")) == "{key}-{response_id}"


@pytest.mark.parametrize(
    ("template", "key", "headers"),
    [
        (None, b"k", []),
        ("{header:tenant}", b"k", []),
        ("{header:tenant}", b"k", [("tenant", None)]),
        ("{header:tenant}", b"k", [("tenant", b"\xff")]),
        ("{key}", None, []),
        ("{key}", b"\xff", []),
        ("{key}", b"[k", []),
        ("{user}", b"k", []),
        ("{key}", b"k" * 2000, []),
        (None, b"k", [("channel", b"\xff")]),
        (None, b"k", [("channel", b":c")]),
    ],
)
def test_a_record_without_a_channel_says_why(template: str | None, key: bytes | None, headers: Headers) -> None:
    found = channel_of("r", key, headers, None if template is None else ChannelTemplate(template))
    assert isinstance(found, Invalid)
    assert found.reason is Reason.INVALID


def test_a_channel_must_match_the_pattern() -> None:
    class Never:
        def fullmatch(self, text: str) -> None:
            return None

    found = channel_of("r", b"k", [("channel", b"chat:42")], None, Never())
    assert isinstance(found, Invalid)
    assert found.reason is Reason.CHANNEL_FORBIDDEN


@pytest.mark.parametrize("template", ["{nothing}", "{", "a}", "{header:}", "{{key}}", "{header:a{b}"])
def test_other_braces_are_an_error(template: str) -> None:
    with pytest.raises(ValueError, match="braces"):
        ChannelTemplate(template)


# Any bytes

headers_of_any_kind = st.lists(
    st.tuples(
        st.sampled_from(["response-id", "channel", "content-type", "x"]),
        st.none() | st.binary(max_size=8) | st.just(FORCED[0][1]),
    ),
    max_size=4,
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.binary(max_size=40) | anything.map(lambda fields: json.dumps(fields).encode()),
    headers_of_any_kind,
    st.none() | st.binary(max_size=4),
    st.sampled_from(Format),
)
def test_no_bytes_and_headers_raise(value: bytes, headers: Headers, key: bytes | None, tokens_format: Format) -> None:
    body = recognize(value, headers, tokens_format)
    if isinstance(body, Body):
        found = identify(body, key, headers)
        if isinstance(found, Chunk):
            channel = channel_of(found.response_id, key, headers, ChannelTemplate("{key}{header:x}"))
            assert isinstance(channel, str | Invalid)


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("id", "object", "choices", "error", "type", "response"), anything)
    )
)
def test_no_field_raises(fields: dict[str, Any]) -> None:
    body = recognize(json.dumps(fields).encode(), FORCED)
    if isinstance(body, Body):
        assert isinstance(identify(body, b"k", FORCED), Chunk | Invalid | None)
