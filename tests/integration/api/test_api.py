"""The API over a real store and a real server, as HTTP clients see it."""

import asyncio
import gzip
import hashlib
import socket
from urllib.parse import quote

import aiohttp
import msgspec
import orjson
import pytest

from processor.api.access import Access
from processor.api.app import ApiLimits, make_app
from processor.errors import StoreUnavailable
from processor.ports.store import PAGE_BYTES, Entry, Position, ResponseStore
from processor.telemetry.health import Check, Health
from processor.telemetry.metrics import Metrics
from processor.telemetry.server import HttpServer, PortTaken
from support.api_server import Api, serving
from support.records import START, entry, record
from topics.codec import encode_response
from topics.records import Part, Status


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


class FailingStore:
    """A store whose every answer is what `fail` does."""

    def __init__(self, error: BaseException | None) -> None:
        self._error = error

    async def summary(self, response_id: str) -> None:
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
    async with serving(FailingStore(error), limits=ApiLimits(request_seconds=0.2)) as api:  # type: ignore[arg-type]  # only `summary` is asked
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


async def test_a_page_of_hydration_says_where_open_responses_are_left(api: Api) -> None:
    texts = ["x" * 2_000_000] * 2
    await api.store.upsert_batch(
        [entry(f"open-{n}", offset=n, status=Status.STREAMING, text=text) for n, text in enumerate(texts)]
    )
    await api.store.upsert_batch([entry(f"r-{n}", offset=9 + n) for n in range(2)])
    said, before = [], ""
    while before is not None:
        _, body, _ = await api.ask(f"/v1/channels/chat:1/hydrate?limit=1{before}")
        said.append((sorted({item["status"] for item in body["items"]}), body.get("moreOpen")))
        before = body["next"] and f"&before={body['next']}"
    assert said == [(["streaming"], True), (["complete", "streaming"], None), (["complete"], None)]
