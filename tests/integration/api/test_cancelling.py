"""`POST /v1/responses/{id}/cancel`: who may, what is answered, what is written."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import jwt
import orjson
import pytest

from processor.api.access import Access, fixed_keys, fixed_tokens
from processor.api.app import ApiLimits
from processor.api.cancel import Rates
from processor.config.values import read_api_tokens
from processor.errors import StoreUnavailable
from processor.ports.store import ResponseStore, Summary
from support.api_server import Api, serving
from support.records import entry
from topics.controls import ControlEvent
from topics.records import Status

KEY_NAME, SECRET = "app.key", "a-secret-of-many-characters-0123456789"
CHAT = b'{"channel":"chat:42"}'


def token_for(capability: Mapping[str, Sequence[str]]) -> str:
    claims = {"exp": int(time.time()) + 60, "x-ably-capability": orjson.dumps(capability).decode()}
    return jwt.encode(claims, SECRET, "HS256", headers={"kid": KEY_NAME})


@asynccontextmanager
async def guarded(
    store: ResponseStore, given: str = "own=chat:*,other=else:*,eyes=read:*", **parts: Any
) -> AsyncIterator[Api]:
    """An api that anyone may read, with these tokens and a key for JWTs."""
    access = Access(
        open=True, tokens=fixed_tokens(*read_api_tokens(given)), keys=fixed_keys(f"{KEY_NAME}:{SECRET}")
    )  # fmt: skip
    async with serving(store, access, **parts) as api:
        yield api


def outcome(api: Api, name: str) -> float:
    return api.metrics.registry.get_sample_value("tokenstream_cancels_total", {"outcome": name}) or 0.0


async def test_an_open_response_is_asked_to_end(api: Api) -> None:
    await api.store.upsert_batch([entry("r-1", channel="chat:42", status=Status.STREAMING)])
    before = int(time.time() * 1000)
    for body in (None, b"", b"{}", CHAT, b'{"reason":"changed my mind","new":1}', b'{"channel":null,"reason":null}'):
        status, answer, _ = await api.cancel("r-1", body)
        assert (status, answer) == (202, {"responseId": "r-1", "state": "requested"}), body
    records = api.controls.written
    assert len(records) == 6, "each is written: whoever obeys drops repeats"
    assert {(record.event, record.response_id, record.channel) for record in records} == {
        (ControlEvent.CANCEL, "r-1", "chat:42")
    }
    assert [record.reason for record in records] == [None, None, None, None, "changed my mind", None]
    assert all(record.ts is not None and before <= record.ts <= before + 60_000 for record in records)
    assert api.counted("/v1/responses/{responseId}/cancel", 202) == 6


async def test_an_unknown_response_is_cancelled_before_its_start_where_its_channel_is_given(api: Api) -> None:
    assert (await api.cancel("soon", CHAT))[0] == 202
    assert [(record.response_id, record.channel) for record in api.controls.written] == [("soon", "chat:42")]
    status, body, _ = await api.cancel("soon")
    assert (status, body["error"]["code"]) == (404, "not_found")
    assert outcome(api, "unknown") == 1
    assert len(api.controls.written) == 1


@pytest.mark.parametrize("status", [status for status in Status if status.finished])
async def test_of_a_response_that_has_ended_the_record_is_given_and_nothing_happens(api: Api, status: Status) -> None:
    await api.store.upsert_batch([entry("r-1", channel="chat:42", status=status)])
    found, answer, _ = await api.cancel("r-1", CHAT)
    assert found == 200
    assert answer == (await api.ask("/v1/responses/r-1"))[1]
    assert api.controls.written == []
    assert outcome(api, "late") == 1


@pytest.mark.parametrize(
    "body",
    [
        b"[]", b"1", b'"x"', b"null", b"{", b"\xff", b'{"channel":1}', b'{"channel":""}', b'{"channel":"[x]y"}', b'{"channel":":x"}',
        b'{"channel":"a\\nb"}', b'{"channel":"\\ud800"}', b'{"channel":{}}', b'{"reason":1}',
        b'{"reason":"' + b"x" * 257 + b'"}', b'{"x":"' + b"x" * 5000 + b'"}', b'{"channel":"' + b"x" * 1025 + b'"}',
    ],
)  # fmt: skip
async def test_a_body_that_is_no_cancel_is_a_bad_request(api: Api, body: bytes) -> None:
    status, answer, _ = await api.cancel("r-1", body)
    assert (status, answer["error"]["code"]) == (400, "bad_request")
    assert api.controls.written == []


async def test_a_body_that_can_not_be_decoded_is_a_bad_request(api: Api) -> None:
    status, _, body = await api.say(
        b"POST /v1/responses/r-1/cancel HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer anything\r\n"
        b"Content-Encoding: gzip\r\nContent-Length: 8\r\n\r\nnot gzip"
    )
    assert (status, orjson.loads(body)["error"]["code"]) == (400, "bad_request")
    assert api.controls.written == []


async def test_an_id_that_no_response_can_have_is_a_bad_request(api: Api) -> None:
    for response_id in ("x" * 257, "a%0Ab", ".", "%2E%2E"):
        assert (await api.cancel(response_id, CHAT))[0] == 400
    assert (await api.cancel("a%2Fb%20c", CHAT))[0] == 202
    assert api.controls.written[0].response_id == "a/b c"


async def test_it_always_needs_a_credential(store: ResponseStore) -> None:
    await store.upsert_batch([entry("r-1", channel="chat:42", status=Status.STREAMING)])
    for loopback_only in (True, False):
        access = Access(open=True, loopback_only=loopback_only, tokens=fixed_tokens(*read_api_tokens("own=chat:*")))
        async with serving(store, access) as api:
            assert (await api.ask("/v1/responses/r-1"))[0] == 200
            for token in (None, "wrong", ""):
                status, answer, headers = await api.cancel("r-1", CHAT, token=token)
                assert (status, answer["error"]["code"]) == (401, "unauthorized")
                assert headers["WWW-Authenticate"] == "Bearer"
            assert api.controls.written == []
            assert (await api.cancel("r-1", CHAT, token="own"))[0] == 202


@pytest.mark.parametrize("body", [None, CHAT])
@pytest.mark.parametrize("known", [True, False])
async def test_a_credential_for_another_channel_is_forbidden_and_has_no_effect(
    store: ResponseStore, body: bytes | None, known: bool
) -> None:
    if known:
        await store.upsert_batch([entry("r-1", channel="chat:42", status=Status.STREAMING)])
    others = ["other", "eyes", token_for({"else:*": ["publish"]}), token_for({"chat:*": ["subscribe", "history"]})]
    async with guarded(store) as api:
        for token in others:
            status, _, _ = await api.cancel("r-1", body, token=token)
            assert status == (403 if known or body else 404), token
        assert api.controls.written == []


@pytest.mark.parametrize("operations", [["publish"], ["subscribe", "publish"], ["*"]])
async def test_a_jwt_whose_capability_includes_publish_may_cancel(store: ResponseStore, operations: list[str]) -> None:
    await store.upsert_batch([entry("r-1", channel="chat:42", status=Status.STREAMING)])
    async with guarded(store) as api:
        token = token_for({"chat:42": operations})
        assert (await api.cancel("r-1", token=token))[0] == 202
        assert (await api.cancel("r-2", CHAT, token=token))[0] == 202
        assert (await api.cancel("r-3", b'{"channel":"chat:43"}', token=token))[0] == 403


async def test_who_may_cancel_and_not_read_gets_no_text(store: ResponseStore) -> None:
    await store.upsert_batch([entry("r-1", channel="chat:42")])
    async with guarded(store) as api:
        status, answer, _ = await api.cancel("r-1", token=token_for({"chat:42": ["publish"]}))
        assert (status, answer["responseId"], answer["status"]) == (200, "r-1", "complete")
        assert not {"text", "parts", "metadata"} & set(answer)
        assert "text" in (await api.cancel("r-1", token=token_for({"chat:42": ["publish", "history"]})))[1]


async def test_the_id_of_a_response_elsewhere_tells_nothing_and_cancels_nothing(store: ResponseStore) -> None:
    """The cancel names the caller's own channel: whoever obeys compares it with the start's."""
    await store.upsert_batch([entry("theirs", channel="else:1", status=Status.STREAMING)])
    async with guarded(store) as api:
        assert (await api.cancel("theirs", CHAT, token="own"))[0] == 202
        assert [record.channel for record in api.controls.written] == ["chat:42"]
    async with guarded(store, "all=*") as api:
        assert (await api.cancel("theirs", CHAT, token="all"))[0] == 404
        assert api.controls.written == []


async def test_without_kafkas_acknowledgement_it_is_unavailable(api: Api) -> None:
    api.controls.down = True
    status, answer, headers = await api.cancel("r-1", CHAT)
    assert (status, answer["error"]["code"]) == (503, "unavailable")
    assert int(headers["Retry-After"]) > 0
    api.controls.down = False
    assert (await api.cancel("r-1", CHAT))[0] == 202


async def test_a_server_without_kafka_cancels_nothing(store: ResponseStore) -> None:
    async with serving(store, controls=None) as api:
        assert (await api.cancel("r-1", CHAT))[0] == 503


class DownStore:
    """Of a store that is down, all that a cancel asks for."""

    async def summary(self, response_id: str) -> Summary | None:
        del response_id
        raise StoreUnavailable("no store")


async def test_while_the_store_is_down_a_cancel_with_its_channel_is_written() -> None:
    async with serving(DownStore()) as api:  # type: ignore[arg-type]
        assert (await api.cancel("r-1", CHAT))[0] == 202
        assert (await api.cancel("r-1"))[0] == 503
        assert len(api.controls.written) == 1


async def test_other_methods_and_parameters_are_refused(api: Api) -> None:
    for method in ("GET", "HEAD", "DELETE", "PUT"):
        status, _, headers = await api.ask("/v1/responses/r-1/cancel", method, Authorization="Bearer anything")
        assert (status, headers["Allow"]) == (405, "POST, OPTIONS"), method
    assert (await api.ask("/v1/responses/r-1", "POST", Authorization="Bearer anything"))[0] == 405
    assert (await api.ask("/v1/responses/r-1/cancel?x=1", "POST", Authorization="Bearer anything"))[0] == 400


async def test_browsers_of_listed_origins_may_cancel(store: ResponseStore) -> None:
    asking = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    async with serving(store, cors_origins=("https://app.example",)) as api:
        status, _, headers = await api.ask("/v1/responses/r-1/cancel", "OPTIONS", **asking)
        assert status == 204
        assert "POST" in headers["Access-Control-Allow-Methods"]
        assert "Content-Type" in headers["Access-Control-Allow-Headers"]


async def test_a_credential_that_asks_for_too_many_is_refused(store: ResponseStore) -> None:
    async with guarded(store, "own=chat:*,too=chat:*", limits=ApiLimits(cancel_rate=0.1)) as api:
        assert (await api.cancel("r-1", CHAT, token="own"))[0] == 202
        status, answer, headers = await api.cancel("r-1", CHAT, token="own")
        assert (status, answer["error"]["code"], headers["Retry-After"]) == (429, "too_many_requests", "1")
        assert (await api.cancel("r-1", CHAT, token="too"))[0] == 202


def test_rates_come_back_with_time() -> None:
    now = 0.0
    rates = Rates(2.0, lambda: now)
    assert [rates.allow("a") for _ in range(21)] == [True] * 20 + [False]
    assert rates.allow("b")
    now = 0.6
    assert [rates.allow("a") for _ in range(2)] == [True, False]
    assert all(Rates(0).allow("a") for _ in range(10_000))
