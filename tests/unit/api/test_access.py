"""Who is let in, and where to."""

import time
from typing import Any

import jwt
import orjson
import pytest

from processor.api.access import (
    DELETE,
    READ,
    Access,
    Asked,
    Grant,
    fixed_keys,
    fixed_tokens,
    is_loopback,
    was_forwarded,
)
from processor.api.capability import covers
from processor.config.values import read_api_tokens
from processor.telemetry.answers import ApiError

KEY = "app.key:a-secret-of-some-length-for-hs256"


def token(capability: Any, *, key: str = KEY, expires: float = 60, **header: str) -> str:
    name, _, secret = key.partition(":")
    text = capability if isinstance(capability, str) else orjson.dumps(capability).decode()
    claims = {"exp": time.time() + expires, "x-ably-capability": text}
    return jwt.encode(claims, secret, algorithm="HS256", headers={"kid": name} | header)


async def grant(credential: str, *, tokens: str = "right=*", keys: tuple[str, ...] = (KEY,), **asked: Any) -> Grant:
    access = Access(open=False, tokens=fixed_tokens(*read_api_tokens(tokens)), keys=fixed_keys(*keys))
    return await access.grant(Asked((f"Bearer {credential}",), **asked))


async def refusal(access: Access, *authorization: str, hosts: tuple[str, ...] = (), **asked: Any) -> int:
    with pytest.raises(ApiError) as told:
        await access.grant(Asked(authorization, hosts, **asked))
    return told.value.status


async def test_an_open_server_lets_anyone_read_and_nobody_delete() -> None:
    public = Access(open=True, tokens=fixed_tokens(*read_api_tokens("right=chat:*")))
    anyone = await public.grant(Asked(("Bearer wrong",), ("any.example",)))
    assert anyone.allows(READ, "any")
    assert not anyone.allows(DELETE, "any")
    assert await refusal(public, deletes=True) == 401
    assert await refusal(public, "Bearer wrong", deletes=True) == 401
    holder = await public.grant(Asked(("Bearer right",), deletes=True))
    assert holder.allows(DELETE, "chat:1")
    assert not holder.allows(DELETE, "news")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8484", "127.0.0.1:80", "127.1.2.3", "[::1]", "[::1]:8484"])
async def test_a_loopback_server_is_open_to_loopback_hosts(host: str) -> None:
    assert (await Access(open=True, loopback_only=True).grant(Asked((), (host,), peer="127.0.0.1"))).allows(READ, "any")


@pytest.mark.parametrize("peer", ["127.0.0.6", "::1", "::ffff:127.0.0.1"])
async def test_a_loopback_server_is_open_to_loopback_peers(peer: str) -> None:
    access = Access(open=True, loopback_only=True)
    assert (await access.grant(Asked((), ("localhost",), peer=peer))).allows(READ, "any")


@pytest.mark.parametrize("peer", [None, "", "172.18.0.1", "10.0.0.7", "::ffff:10.0.0.7", "fe80::1%eth0", "nonsense"])
async def test_a_loopback_server_asks_other_peers_for_a_credential_whatever_their_host(peer: str | None) -> None:
    access = Access(open=True, loopback_only=True, tokens=fixed_tokens(*read_api_tokens("right=chat:*")))
    assert await refusal(access, hosts=("localhost",), peer=peer) == 403
    assert (await access.grant(Asked(("Bearer right",), ("localhost",), peer=peer))).allows(READ, "chat:1")


async def test_a_loopback_server_asks_for_a_credential_through_a_proxy() -> None:
    access = Access(open=True, loopback_only=True)
    assert await refusal(access, hosts=("localhost",), peer="127.0.0.1", forwarded=True) == 403
    assert (await Access(open=True).grant(Asked((), ("any",), forwarded=True))).allows(READ, "any")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("X-Forwarded-For", True),
        ("x-forwarded-proto", True),
        ("Forwarded", True),
        ("VIA", True),
        ("X-Real-IP", True),
        ("X-Envoy-External-Address", True),
        ("Accept", False),
        ("X-Requested-With", False),
    ],
)
def test_headers_that_proxies_add_are_noticed(name: str, expected: bool) -> None:
    assert was_forwarded(["Host", name]) is expected


@pytest.mark.parametrize(
    "hosts",
    [("evil.example",), ("evil.example:8484",), ("localhost.evil.example",), ("",), ("localhost", "evil.example")],
)
async def test_a_loopback_server_asks_other_hosts_for_a_credential(hosts: tuple[str, ...]) -> None:
    access = Access(open=True, loopback_only=True, tokens=fixed_tokens(*read_api_tokens("right=chat:*")))
    assert await refusal(access, hosts=hosts, peer="127.0.0.1") == 403
    assert await refusal(access, "Bearer wrong", hosts=hosts, peer="127.0.0.1") == 401
    assert (await access.grant(Asked(("Bearer right",), hosts))).allows(READ, "chat:1")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer  ", "Basic dXNlcjpwYXNz", "Bearer wrong", "Bearer é.é.é"])
async def test_without_a_known_credential_nobody_is_let_in(header: str) -> None:
    access = Access(open=False, tokens=fixed_tokens(*read_api_tokens("right=*")), keys=fixed_keys(KEY))
    assert await refusal(access) == 401
    with pytest.raises(ApiError) as told:
        await access.grant(Asked((header,)))
    assert (told.value.status, told.value.headers) == (401, {"WWW-Authenticate": "Bearer"})


async def test_two_credentials_are_none() -> None:
    access = Access(open=False, tokens=fixed_tokens(*read_api_tokens("right=*")))
    assert await refusal(access, "Bearer right", "Bearer wrong") == 400


async def test_a_static_token_reaches_the_channels_of_its_patterns() -> None:
    mine = await grant("mine", tokens="mine=chat:*,other=*,mine=news")
    assert mine.credential == "API_TOKENS entry 1, 3"
    assert mine.allows(READ, "chat:1")
    assert mine.allows(DELETE, "chat:1:2")
    assert mine.allows(READ, "news")
    assert not mine.allows(READ, "news:1")
    assert not mine.allows(READ, "CHAT:1")


async def test_a_read_only_token_deletes_nothing() -> None:
    reader = await grant("mine", tokens="mine=read:chat:*")
    assert reader.allows(READ, "chat:1")
    assert not reader.allows(READ, "news")
    assert not reader.allows(DELETE, "chat:1")


async def test_a_bracket_in_a_pattern_is_itself() -> None:
    mine = await grant("mine", tokens="mine=team[1]:*")
    assert mine.allows(READ, "team[1]:x")
    assert not mine.allows(READ, "team1:x")


async def test_a_jwt_reads_where_its_capability_includes_history() -> None:
    reader = await grant(token({"chat:*": ["subscribe", "history"], "live": ["subscribe"], "all": ["*"]}))
    assert reader.allows(READ, "chat:1")
    assert not reader.allows(READ, "live")
    assert reader.allows(READ, "all")


async def test_a_readers_jwt_deletes_nothing() -> None:
    assert not (await grant(token({"*": ["subscribe", "history"]}))).allows(DELETE, "chat:1")
    assert not (await grant(token({"*": ["*"]}))).allows(DELETE, "chat:1")
    assert (await grant(token({"*": ["message-delete-any"]}))).allows(DELETE, "chat:1")


async def test_the_key_of_a_jwt_is_chosen_by_its_name() -> None:
    keys = ("app.one:the-secret-of-the-first-key-of-all", KEY)
    assert (await grant(token({"*": ["history"]}), keys=keys)).credential == "key app.key"
    assert (await grant(token({"*": ["history"]}, key=keys[0]), keys=keys)).credential == "key app.one"
    with pytest.raises(ApiError):
        await grant(token({"*": ["history"]}, key=keys[0], kid="app.key"), keys=keys)


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
    ids=["expired", "other-secret", "other-key", "no-json", "list", "no-list", "no-expiry", "unsigned", "no-jwt"],
)
async def test_a_jwt_that_is_not_whole_and_ours_is_refused(bad: str) -> None:
    with pytest.raises(ApiError) as told:
        await grant(bad)
    assert told.value.status == 401


async def test_a_jwt_without_capability_grants_nothing() -> None:
    bare = jwt.encode({"exp": time.time() + 9}, KEY.partition(":")[2], headers={"kid": "app.key"})
    assert not (await grant(bare)).allows(READ, "chat:1")


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
        ("[queue]*", "a", False),
        ("[]*", "a", False),
        ("[?rewind=1]*", "a", False),
        ("[META]*", "a", False),
        ("[*meta]*", "a", False),
        ("[*", "a", False),
        ("[*]chat:*", "chat:1", True),
        ("[queue]appid-queue", "appid-queue", False),
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
