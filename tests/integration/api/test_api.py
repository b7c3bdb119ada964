"""The API over a real store and a real server, as HTTP clients see it."""

import asyncio
import gzip
import hashlib
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
import orjson
import pytest
from multidict import CIMultiDictProxy
from structlog.testing import capture_logs
from yarl import URL

from processor.api.access import Access, fixed_tokens
from processor.api.app import ApiLimits, ApiParts, make_app
from processor.api.health import Check, Health
from processor.api.server import HttpServer, PortTaken
from processor.config_values import read_api_tokens
from processor.errors import KafkaUnavailable, StoreUnavailable
from processor.metrics import Metrics
from processor.store_port import PAGE_BYTES, Entry, Position, ResponseStore
from records import START, entry, record
from stores import opened
from support import eventually
from topics.codec import encode_response
from topics.records import Part, Status


@dataclass
class RecordingTombstones:
    written: list[tuple[str, int]] = field(default_factory=list)
    down: bool = False
    held: asyncio.Event | None = None
    """Where it is given, a tombstone is not acknowledged until it is set."""

    async def write(self, response_id: str, partition: int) -> None:
        if self.down:
            raise KafkaUnavailable("no broker")
        self.written.append((response_id, partition))
        if self.held is not None:
            await self.held.wait()


@dataclass
class Api:
    """A running server and a client of it."""

    store: ResponseStore
    tombstones: RecordingTombstones
    metrics: Metrics
    url: str
    http: aiohttp.ClientSession

    async def delete(self, response_id: str, token: str = "anything") -> tuple[int, Any, CIMultiDictProxy[str]]:
        return await self.ask(f"/v1/responses/{response_id}", "DELETE", Authorization=f"Bearer {token}")

    async def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, Any, CIMultiDictProxy[str]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(method, URL(self.url + path, encoded=True), headers=named) as response:
            body = await response.read()
            return response.status, orjson.loads(body) if body else None, response.headers

    async def say(self, request: bytes) -> tuple[int, bytes, bytes]:
        """Status, headers and body of the answer to these bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", URL(self.url).port)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        writer.close()
        return int(head.split()[1]), head, body

    def counted(self, route: str, status: int) -> float:
        labels = {"route": route, "status": str(status)}
        return self.metrics.registry.get_sample_value("tokenstream_api_requests_total", labels) or 0.0


def tokens(given: str, *, is_open: bool = False) -> Access:
    return Access(open=is_open, tokens=fixed_tokens(*read_api_tokens(given)))


@asynccontextmanager
async def serving(
    store: ResponseStore,
    access: Access | None = None,
    checks: Sequence[Check] = (),
    limits: ApiLimits = ApiLimits(),  # noqa: B008 - frozen
    **parts: Any,
) -> AsyncIterator[Api]:
    metrics, tombstones = Metrics(), RecordingTombstones()
    api = ApiParts(store, access or tokens("anything=*", is_open=True), tombstones, limits=limits, **parts)
    server = HttpServer(make_app(metrics, Health(metrics, lambda: checks), api), host="127.0.0.1", port=0)
    async with server, aiohttp.ClientSession(auto_decompress=False, headers={"Accept-Encoding": "identity"}) as http:
        yield Api(store, tombstones, metrics, f"http://127.0.0.1:{server.port}", http)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ResponseStore]:
    async with opened(f"sqlite:///{tmp_path}/s.db") as store:
        yield store


@pytest.fixture
async def api(store: ResponseStore) -> AsyncIterator[Api]:
    async with serving(store) as api:
        yield api


async def test_a_response_is_answered_with_its_text_and_hashes(api: Api) -> None:
    value = encode_response(record("r-1", text="Hel\0lo 😀", metadata={"big": 1}))
    await api.store.upsert_batch([Entry.of(Position(0, 0), value.replace(b'"big":1', b'"big":1' + b"0" * 30))])
    status, body, headers = await api.ask("/v1/responses/r-1")
    assert status == 200
    assert headers["Content-Type"] == "application/json"
    assert body["text"] == "Hel\0lo 😀"
    assert body["parts"][0]["sha256"] == hashlib.sha256("Hel\0lo 😀".encode()).hexdigest()
    assert body["startedAt"] == START
    async with api.http.get(api.url + "/v1/responses/r-1") as response:
        assert b"1" + b"0" * 30 in await response.read()


async def test_a_response_without_an_answer_part_has_empty_text(api: Api) -> None:
    parts = (Part(part="call", kind="tool_call", text="{}", length=2, info={"name": "x"}),)
    value = encode_response(msgspec.structs.replace(record("r-1"), parts=parts))
    await api.store.upsert_batch([Entry.of(Position(0, 0), value)])
    _, body, _ = await api.ask("/v1/responses/r-1")
    assert body["text"] == ""
    assert body["parts"][0]["info"] == {"name": "x"}


async def test_what_is_not_there_is_told_in_one_shape(api: Api) -> None:
    for path in ("/v1/responses/nobody", "/v1/nothing", "/v1"):
        status, body, _ = await api.ask(path)
        assert status == 404
        assert body["error"]["code"] == "not_found"
        assert body["error"]["message"]
    status, body, headers = await api.ask("/v1/responses/x", "PUT")
    assert (status, body["error"]["code"]) == (405, "method_not_allowed")
    assert headers["Allow"] == "GET, DELETE, HEAD, OPTIONS"
    assert api.counted("/v1/responses/{responseId}", 404) == 1
    assert api.counted("unknown", 404) == 2


@pytest.mark.parametrize("name", ["../../x", "..", "a/b", "%2F", "a\nb", "q?x=1#y", "😀" * 64, "a b+c", '"<>"'])
async def test_hostile_names_are_found_by_their_encoded_path(api: Api, name: str) -> None:
    await api.store.upsert_batch([entry(name, channel=name)])
    encoded = quote(name, safe="").replace(".", "%2E")
    for path in (f"/v1/responses/{encoded}", f"/v1/responses/{quote(name, safe='')}"):
        status, body, _ = await api.ask(path)
        assert (status, body["responseId"]) == (200, name)
    for what in ("responses", "hydrate"):
        status, body, _ = await api.ask(f"/v1/channels/{encoded}/{what}")
        assert (status, [item["channel"] for item in body["items"]]) == (200, [name])


async def test_pages_follow_their_cursor_to_the_end(api: Api) -> None:
    await api.store.upsert_batch([entry(f"r-{n}", offset=n, started_at=START + n) for n in range(7)])
    seen, path = [], "/v1/channels/chat:1/responses?limit=3"
    after = ""
    while True:
        _, body, _ = await api.ask(path + after)
        seen += [item["responseId"] for item in body["items"]]
        if body["next"] is None:
            break
        after = f"&before={body['next']}"
    assert seen == [f"r-{n}" for n in reversed(range(7))]


async def test_a_listing_takes_fields_and_status(api: Api) -> None:
    await api.store.upsert_batch(
        [entry("r-1", offset=1), entry("r-2", offset=2, status=Status.FAILED, started_at=START + 1)]
    )
    _, body, _ = await api.ask("/v1/channels/chat:1/responses?fields=responseId,status")
    assert body["items"] == [{"responseId": "r-2", "status": "failed"}, {"responseId": "r-1", "status": "complete"}]
    _, body, _ = await api.ask("/v1/channels/chat:1/responses?fields=text&status=complete,abandoned")
    assert body["items"] == [{"text": "Hello"}]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=-1", "limit=x", "limit=%D9%A3", "before=x", "before=", "status=done"]
)
async def test_a_wrong_query_is_a_bad_request_that_says_what(api: Api, query: str) -> None:
    status, body, _ = await api.ask(f"/v1/channels/c/responses?{query}")
    assert (status, body["error"]["code"]) == (400, "bad_request")


async def test_a_page_ends_at_eight_mebibytes_as_rendered(api: Api) -> None:
    text = "x" * 1_500_000
    await api.store.upsert_batch([entry(f"r-{n}", offset=n, text=text, started_at=START + n) for n in range(5)])
    async with api.http.get(api.url + "/v1/channels/chat:1/responses") as response:
        raw = await response.read()
    assert len(raw) < PAGE_BYTES + 1000
    body = orjson.loads(raw)
    assert [item["responseId"] for item in body["items"]] == ["r-4", "r-3"]
    _, rest, _ = await api.ask(f"/v1/channels/chat:1/responses?before={body['next']}&fields=responseId")
    assert [item["responseId"] for item in rest["items"]] == ["r-2", "r-1", "r-0"]


async def test_hydration_answers_open_and_finished_ones_with_what_the_offset_rule_needs(api: Api) -> None:
    await api.store.upsert_batch(
        [entry(f"done-{n}", offset=n, started_at=START + n) for n in range(5)]
        + [entry("open", offset=9, status=Status.STREAMING, started_at=START - 5, text="so far")]
    )
    _, body, _ = await api.ask("/v1/channels/chat:1/hydrate?limit=2")
    assert [item["responseId"] for item in body["items"]] == ["done-4", "done-3", "open"]
    running = body["items"][-1]
    assert (running["status"], running["seq"], running["parts"][0]["length"]) == ("streaming", 2, 6)
    _, rest, _ = await api.ask(f"/v1/channels/chat:1/responses?before={body['next']}&status=complete")
    assert [item["responseId"] for item in rest["items"]] == ["done-2", "done-1", "done-0"]
    _, body, _ = await api.ask("/v1/channels/chat:1/hydrate?limit=0")
    assert [item["responseId"] for item in body["items"]] == ["open"]


async def test_a_finished_response_is_not_sent_twice_to_who_has_it(api: Api) -> None:
    await api.store.upsert_batch([entry("r-1", offset=1), entry("open", offset=2, status=Status.STREAMING)])
    _, _, headers = await api.ask("/v1/responses/r-1")
    status, body, _ = await api.ask("/v1/responses/r-1", If_None_Match=f'"other", {headers["ETag"]}')
    assert (status, body) == (304, None)
    status, _, _ = await api.ask("/v1/responses/r-1", If_None_Match='"other"')
    assert status == 200
    _, _, headers = await api.ask("/v1/responses/open")
    assert "ETag" not in headers
    assert headers["Cache-Control"] == "no-store"


async def test_large_answers_are_compressed_for_who_takes_it(api: Api) -> None:
    await api.store.upsert_batch([entry("r-1", text="word " * 1000)])
    async with api.http.get(api.url + "/v1/responses/r-1", headers={"Accept-Encoding": "br, gzip;q=0.5"}) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert orjson.loads(gzip.decompress(await response.read()))["responseId"] == "r-1"
    _, _, headers = await api.ask("/v1/responses/r-1", Accept_Encoding="gzip;q=0, identity")
    assert "Content-Encoding" not in headers


async def test_head_answers_as_get_without_a_body(api: Api) -> None:
    await api.store.upsert_batch([entry("r-1")])
    status, body, headers = await api.ask("/v1/responses/r-1", "HEAD")
    assert (status, body) == (200, None)
    assert "ETag" in headers


async def test_deleting_writes_the_tombstone_to_the_records_partition_and_empties_the_store(api: Api) -> None:
    await api.store.upsert_batch([entry("r-1", partition=7, offset=3)])
    assert (await api.delete("r-1"))[0] == 204
    assert api.tombstones.written == [("r-1", 7)]
    assert (await api.ask("/v1/responses/r-1"))[0] == 404
    assert (await api.delete("r-1"))[0] == 404
    await api.store.upsert_batch([entry("r-1", partition=7, offset=3)])
    assert (await api.ask("/v1/responses/r-1"))[0] == 404


async def test_an_open_response_is_not_deleted(api: Api) -> None:
    await api.store.upsert_batch([entry("open", status=Status.STREAMING)])
    status, body, _ = await api.delete("open")
    assert (status, body["error"]["code"]) == (409, "response_open")
    assert api.tombstones.written == []


async def test_nothing_is_deleted_while_the_log_can_not_be_told(api: Api) -> None:
    await api.store.upsert_batch([entry("r-1")])
    api.tombstones.down = True
    status, _, headers = await api.delete("r-1")
    assert (status, headers["Retry-After"]) == (503, "2")
    assert (await api.ask("/v1/responses/r-1"))[0] == 200


async def test_a_deletion_runs_to_its_end_though_its_caller_leaves(api: Api) -> None:
    await api.store.upsert_batch([entry("r-1", partition=7, offset=3)])
    api.tombstones.held = asyncio.Event()
    caller = asyncio.create_task(api.delete("r-1"))
    await eventually(lambda: api.tombstones.written == [("r-1", 7)])
    caller.cancel()
    await asyncio.wait({caller})
    await api.http.close()
    assert await api.store.get("r-1") is not None
    api.tombstones.held.set()

    async def deleted() -> bool:
        return await api.store.get("r-1") is None

    await eventually(deleted)


async def test_callers_that_leave_at_any_moment_leave_nothing_behind(store: ResponseStore) -> None:
    await store.upsert_batch([entry(f"r-{n}", offset=n, text="x" * 300_000) for n in range(20)])
    async with serving(store, limits=ApiLimits(buffered_bytes=1, requests=100)) as api:
        for number in range(60):
            caller = asyncio.create_task(api.ask("/v1/channels/chat:1/hydrate"))
            await asyncio.wait({caller}, timeout=number / 2_000)
            caller.cancel()
            await asyncio.wait({caller})
        # Each request takes the whole budget: a share that was not given back would be missed.
        status, body, _ = await api.ask("/v1/channels/chat:1/hydrate")
        assert (status, len(body["items"])) == (200, 10)


async def test_a_server_that_stops_ends_what_it_began_to_delete(store: ResponseStore) -> None:
    await store.upsert_batch([entry("r-1")])
    async with serving(store) as api:
        api.tombstones.held = asyncio.Event()
        caller = asyncio.create_task(api.delete("r-1"))
        await eventually(lambda: api.tombstones.written == [("r-1", 0)])
        caller.cancel()
        await asyncio.wait({caller})
        asyncio.get_running_loop().call_later(0.1, api.tombstones.held.set)
    assert await store.get("r-1") is None


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


async def test_a_channel_may_be_given_as_a_parameter(api: Api) -> None:
    await api.store.upsert_batch([entry("r-1", channel="docs/42 +ü")])
    for path in ("responses?limit=5&channel=", "hydrate?channel="):
        status, body, _ = await api.ask(f"/v1/{path}{quote('docs/42 +ü', safe='')}")
        assert (status, [item["responseId"] for item in body["items"]]) == (200, ["r-1"])
        assert (await api.ask(f"/v1/{path}"))[0] == 400
        assert (await api.ask(f"/v1/{path}a&channel=b"))[0] == 400
    assert api.counted("/v1/hydrate", 200) == 1


@pytest.mark.parametrize(
    "path",
    [
        "responses/r-1?access_token=x",
        "responses/r-1?fields=text",
        "openapi.json?x",
        "channels/c/responses?Limit=1",
        "channels/c/hydrate?status=complete",
        "channels/c/hydrate?channel=c",
    ],
)
async def test_a_parameter_that_is_not_known_is_a_bad_request_that_names_it(api: Api, path: str) -> None:
    status, body, _ = await api.ask(f"/v1/{path}")
    assert (status, body["error"]["code"]) == (400, "bad_request")
    assert path.partition("?")[2].partition("=")[0] in body["error"]["message"]


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


class FailingStore:
    """A store whose every answer is what `fail` does."""

    def __init__(self, error: BaseException | None) -> None:
        self._error = error

    async def get(self, response_id: str) -> None:
        if self._error is None:
            await asyncio.Event().wait()
        else:
            raise self._error


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreUnavailable("password=hunter2"), 503, "unavailable"),
        (None, 504, "timeout"),
        (ZeroDivisionError("the text of a response"), 500, "internal"),
    ],
)
async def test_a_store_that_fails_is_an_answer_in_time_without_its_words(
    error: BaseException | None, status: int, code: str
) -> None:
    async with serving(FailingStore(error), limits=ApiLimits(request_seconds=0.2)) as api:  # type: ignore[arg-type]  # only `get` is asked
        got, body, _ = await api.ask("/v1/responses/r-1")
        assert (got, body["error"]["code"]) == (status, code)
        assert "hunter2" not in str(body)
        assert "text of" not in str(body)


async def test_probes_and_metrics_need_no_credential(store: ResponseStore) -> None:
    checks = (Check("store", store.ping), Check("archive", lambda: "lags", required=False))
    async with serving(store, Access(open=False), checks) as api:
        async with api.http.get(api.url + "/readyz") as response:
            assert (response.status, await response.text()) == (200, "store: ok\narchive: failing - lags\n")
        async with api.http.get(api.url + "/healthz") as response:
            assert response.status == 200
        async with api.http.get(api.url + "/metrics") as response:
            assert "tokenstream_api_requests" in await response.text()
    async with (
        serving(store, checks=(Check("kafka", lambda: "no broker"),)) as api,
        api.http.get(api.url + "/readyz") as response,
    ):
        assert (response.status, await response.text()) == (503, "kafka: failing - no broker\n")


async def test_a_taken_port_is_one_clear_sentence(store: ResponseStore) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        server = HttpServer(make_app(Metrics(), Health(Metrics(), tuple), None), host="127.0.0.1", port=port)
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port}: .*TOKENSTREAM_HTTP_PORT"):
            await server.start()


async def test_roles_without_api_serve_health_only() -> None:
    async with (
        HttpServer(make_app(Metrics(), Health(Metrics(), tuple), None), host="127.0.0.1", port=0) as server,
        aiohttp.ClientSession() as http,
    ):
        async with http.get(f"http://127.0.0.1:{server.port}/v1/responses/x") as response:
            assert response.status == 404
        async with http.get(f"http://127.0.0.1:{server.port}/readyz") as response:
            assert await response.text() == "ok\n"
