"""Who is let in, and where to."""

import time
from typing import Any

import jwt
import orjson
import pytest

from processor.api.access import DELETE, READ, Access, Grant, covers, is_loopback
from processor.api.errors import ApiError

KEY = "app.key:a-secret-of-some-length-for-hs256"


def token(capability: Any, *, key: str = KEY, expires: float = 60, **header: str) -> str:
    name, _, secret = key.partition(":")
    text = capability if isinstance(capability, str) else orjson.dumps(capability).decode()
    claims = {"exp": time.time() + expires, "x-ably-capability": text}
    return jwt.encode(claims, secret, algorithm="HS256", headers={"kid": name} | header)


def grant(credential: str | None, **parts: Any) -> Grant:
    access = Access(open=False, ably_key=lambda: KEY, **parts)
    return access.grant(None if credential is None else f"Bearer {credential}")


def test_an_open_server_asks_for_nothing() -> None:
    assert Access(open=True).grant(None).allows(DELETE, "any")


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer  ", "Basic dXNlcjpwYXNz", "Bearer wrong", "Bearer é.é.é"]
)
def test_without_a_known_credential_nobody_is_let_in(header: str | None) -> None:
    with pytest.raises(ApiError) as told:
        Access(open=False, tokens=(("right", "*"),), ably_key=lambda: KEY).grant(header)
    assert (told.value.status, told.value.headers) == (401, {"WWW-Authenticate": "Bearer"})


def test_a_static_token_reaches_the_channels_of_its_patterns() -> None:
    tokens = (("mine", "chat:*"), ("other", "*"), ("mine", "news"))
    mine = grant("mine", tokens=tokens)
    assert mine.allows(READ, "chat:1")
    assert mine.allows(DELETE, "chat:1:2")
    assert mine.allows(READ, "news")
    assert not mine.allows(READ, "news:1")
    assert not mine.allows(READ, "CHAT:1")


def test_a_jwt_reads_where_its_capability_includes_history() -> None:
    reader = grant(token({"chat:*": ["subscribe", "history"], "live": ["subscribe"], "all": ["*"]}))
    assert reader.allows(READ, "chat:1")
    assert not reader.allows(READ, "live")
    assert reader.allows(READ, "all")


def test_a_readers_jwt_deletes_nothing() -> None:
    assert not grant(token({"*": ["subscribe", "history"]})).allows(DELETE, "chat:1")
    assert grant(token({"*": ["message-delete-any"]})).allows(DELETE, "chat:1")


@pytest.mark.parametrize(
    "bad",
    [
        token({"*": ["history"]}, expires=-1),
        token({"*": ["history"]}, key="app.key:another-secret-of-some-length-yes"),
        token({"*": ["history"]}, kid="app.other"),
        token("no json"),
        token(["*"]),
        token({"*": "history"}),
        jwt.encode({"x-ably-capability": '{"*":["*"]}'}, KEY.partition(":")[2], headers={"kid": "app.key"}),
        jwt.encode({"exp": time.time() + 9}, "", algorithm="none", headers={"kid": "app.key"}),
        "a.b.c",
    ],
)
def test_a_jwt_that_is_not_whole_and_ours_is_refused(bad: str) -> None:
    with pytest.raises(ApiError) as told:
        grant(bad)
    assert told.value.status == 401


def test_a_jwt_without_capability_grants_nothing() -> None:
    bare = jwt.encode({"exp": time.time() + 9}, KEY.partition(":")[2], headers={"kid": "app.key"})
    assert not grant(bare).allows(READ, "chat:1")


@pytest.mark.parametrize(
    ("resource", "channel", "expected"),
    [
        ("*", "a", True),
        ("*", "a:b:c", True),
        ("a:*", "a:b:c", True),
        ("a:*", "a", False),
        ("a:*:c", "a:b:c", True),
        ("a:*:c", "a:b:d", False),
        ("a:*:c", "a:b:c:d", False),
        ("a", "a", True),
        ("a", "ab", False),
        ("a*", "ab", False),
        ("[*]*", "a:b", True),
        ("[meta]*", "a", False),
        ("[meta]log", "log", False),
    ],
)
def test_capabilities_match_as_ably_matches_them(resource: str, channel: str, expected: bool) -> None:
    assert covers(resource, channel) is expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("pod-1", False),
    ],
)
def test_only_loopback_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
