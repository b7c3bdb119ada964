"""Which clients are admitted, and what the others get, as HTTP clients see it."""

import orjson
from structlog.testing import capture_logs

from processor.api.access import Access
from processor.ports.store import ResponseStore
from support.api_server import Api, serving, tokens
from support.records import entry
from topics.records import Status


async def test_a_deletion_is_logged_with_the_credential_that_allowed_it(store: ResponseStore) -> None:
    await store.upsert_batch([entry("r-1")])
    async with serving(store, tokens("first=*,second=*")) as api:
        with capture_logs() as said:
            await api.delete("r-1", "second")
            await api.delete("r-1", "second")
        deleted = [line for line in said if line["event"] == "response_deleted"]
        assert [(line["responseId"], line["credential"]) for line in deleted] == [("r-1", "API_TOKENS entry 2")]


async def test_refused_credentials_are_logged_but_not_each_of_them(store: ResponseStore) -> None:
    async with serving(store, tokens("first=*")) as api:
        with capture_logs() as said:
            for _ in range(20):
                await api.ask("/v1/responses/r-1", Authorization="Bearer CANARY")
        refused = [line for line in said if line["event"] == "credential_refused"]
        assert [(line["status"], line["route"]) for line in refused] == [(401, "/v1/responses/{responseId}")]
        assert "CANARY" not in str(said)


async def test_a_token_reads_its_channels_and_no_others(store: ResponseStore) -> None:
    await store.upsert_batch([entry("mine", channel="team-a:1"), entry("theirs", channel="team-b:1", offset=1)])
    async with serving(store, tokens("secret=team-a:*,reader=read:team-a:*")) as api:
        assert (await api.ask("/v1/responses/mine"))[0] == 401
        assert (await api.ask("/v1/responses/mine", Authorization="Bearer secret"))[0] == 200
        for path in ("channels/team-b:1/responses", "channels/team-b:1/hydrate", "hydrate?channel=team-b:1"):
            status, body, _ = await api.ask(f"/v1/{path}", Authorization="Bearer secret")
            assert (status, body["error"]["code"]) == (403, "forbidden")
        assert (await api.ask("/v1/openapi.json"))[0] == 401
        assert (await api.ask("/v1/openapi.json", Authorization="Bearer secret"))[0] == 200
        status, body, _ = await api.delete("mine", "reader")
        assert (status, body["error"]["code"]) == (403, "forbidden")
        assert (await api.delete("mine", "secret"))[0] == 204


async def test_a_response_of_another_channel_looks_as_one_that_is_not_there(store: ResponseStore) -> None:
    await store.upsert_batch([entry("theirs", channel="team-b:1"), entry("open", offset=1, status=Status.STREAMING)])
    async with serving(store, tokens("secret=team-a:*")) as api:
        for method in ("GET", "HEAD", "DELETE"):
            answers = [
                await api.ask(f"/v1/responses/{name}", method, Authorization="Bearer secret")
                for name in ("theirs", "open", "nobody")
            ]
            assert [(status, body) for status, body, _ in answers] == [(404, answers[2][1])] * 3


async def test_an_open_server_deletes_nothing_without_a_credential(api: Api) -> None:
    await api.store.upsert_batch([entry("r-1")])
    assert (await api.ask("/v1/responses/r-1", "DELETE"))[0] == 401
    assert (await api.delete("r-1", "wrong"))[0] == 401
    assert api.tombstones.written == []
    assert (await api.delete("r-1"))[0] == 204


async def test_a_page_that_rebinds_its_name_reads_nothing(store: ResponseStore) -> None:
    async with serving(store, Access(open=True, loopback_only=True)) as api:
        status, body, _ = await api.ask("/v1/channels/a/hydrate", Host="evil.example")
        assert (status, body["error"]["code"]) == (403, "forbidden")
        assert (await api.ask("/v1/channels/a/hydrate", Host="localhost:1"))[0] == 200
        assert (await api.ask("/v1/openapi.json", Host="evil.example"))[0] == 403


async def test_what_a_proxy_on_this_machine_passes_on_is_not_from_this_machine(store: ResponseStore) -> None:
    async with serving(store, Access(open=True, loopback_only=True)) as api:
        for name in ("X_Forwarded_For", "Forwarded", "X_Envoy_Internal"):
            assert (await api.ask("/v1/channels/a/hydrate", Host="localhost", **{name: "127.0.0.1"}))[0] == 403


async def test_no_answer_names_the_server_s_versions(api: Api) -> None:
    for path in ("/v1/responses/x", "/healthz", "/metrics", "/nothing"):
        async with api.http.get(api.url + path) as response:
            assert (response.headers["Server"], response.headers["X-Content-Type-Options"]) == (
                "tokenstream",
                "nosniff",
            )


async def test_malformed_requests_are_told_in_our_format(api: Api) -> None:
    lines = (
        b"GET /v1/responses/caf\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Api-Key: CANARY\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 9_000 + b"\r\n\r\n",
        b"nonsense\r\n\r\n",
    )
    for line in lines:
        status, headers, body = await api.say(line)
        assert (status, orjson.loads(body)["error"]["code"]) == (400, "bad_request")
        assert b"aiohttp" not in headers
        assert b"CANARY" not in body


async def test_a_target_in_absolute_form_is_found_and_its_host_counts(store: ResponseStore) -> None:
    await store.upsert_batch([entry("r-1")])
    async with serving(store, Access(open=True, loopback_only=True)) as api:
        line = b"GET http://%s/v1/responses/r-1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert (await api.say(line % b"localhost:80"))[0] == 200
        assert (await api.say(line % b"evil.example"))[0] == 403


async def test_two_credentials_are_a_bad_request(store: ResponseStore) -> None:
    async with serving(store, tokens("secret=*")) as api:
        two = b"Authorization: Bearer secret\r\nAuthorization: Bearer wrong\r\n"
        line = b"GET /v1/responses/r-1 HTTP/1.1\r\nHost: x\r\n" + two + b"Connection: close\r\n\r\n"
        assert (await api.say(line))[0] == 400


async def test_browsers_of_the_origins_set_may_read_the_answers(store: ResponseStore) -> None:
    async with serving(store, Access(open=False), cors_origins=("https://app.example",)) as api:
        _, _, headers = await api.ask("/v1/responses/x", Origin="https://app.example")
        assert headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert "Origin" in headers["Vary"]
        assert headers["Access-Control-Expose-Headers"] == "ETag, Retry-After"
        status, _, headers = await api.ask("/v1/responses/x", "OPTIONS", Origin="https://app.example")
        assert status == 204
        assert "Authorization" in headers["Access-Control-Allow-Headers"]
        assert "DELETE" in headers["Access-Control-Allow-Methods"]
        asked = "authorization,baggage,sentry-trace,traceparent,tracestate"
        preflight = {"Origin": "https://app.example", "Access_Control_Request_Headers": asked}
        _, _, headers = await api.ask("/v1/channels/a/hydrate", "OPTIONS", **preflight)
        assert headers["Access-Control-Allow-Headers"] == asked
        _, _, headers = await api.ask("/v1/responses/x", Origin="https://evil.example")
        assert "Access-Control-Allow-Origin" not in headers
    async with serving(store, cors_origins=("*",)) as api:
        _, _, headers = await api.ask("/v1/responses/x", Origin="https://any.example")
        assert headers["Access-Control-Allow-Origin"] == "*"
        _, _, headers = await api.ask("/v1/responses/x", "OPTIONS", Origin="https://any.example")
        assert "DELETE" not in headers["Access-Control-Allow-Methods"]
