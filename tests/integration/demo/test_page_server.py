"""The web server of the demo's page: what it gives out, and to whom."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from devtools.demo.web.server import Collaborators, DemoPage, Fault, PageUnavailable, Prompt
from support.gateway_log import start
from support.served_gateway import CuttingProxy, Served
from support.served_gateway import serving as serving_gateway


@contextlib.asynccontextmanager
async def serving(
    said: list[Prompt],
    *,
    api: str = "http://127.0.0.1:1",
    port: int = 0,
    realtime: str | None = "127.0.0.1:4000",
) -> AsyncIterator[DemoPage]:
    async def say(prompt: Prompt) -> None:
        said.append(prompt)

    async def inject() -> str:
        return "It is broken."

    faults = (Fault("cut", "Cut", "all", inject, lambda: True),)
    collaborators = Collaborators(
        realtime=realtime,
        api=api,
        channel="chat:1",
        token=lambda: "a.b.c",
        cancel_token=lambda: "c.d.e",
        say=say,
        faults=faults,
    )
    async with DemoPage(collaborators, port) as page:
        yield page


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def page() -> AsyncIterator[DemoPage]:
    async with serving([]) as served:
        yield served


@pytest.mark.parametrize(
    "path", ["", "app.js", "styles.css", "icon.svg", "lib/ably.js", "lib/marked.js", "lib/tokenstream/index.js"]
)
async def test_every_file_the_page_loads_is_served(page: DemoPage, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(page.address + path) as answer:
        assert answer.status == 200
        assert await answer.text()


async def test_the_policy_allows_this_server_and_the_realtime_server_only(
    page: DemoPage, http: aiohttp.ClientSession
) -> None:
    async with http.get(page.address) as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert "connect-src 'self' ws://localhost:4000 http://localhost:4000;" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy


async def test_the_configuration_and_the_token_hold_no_key(page: DemoPage, http: aiohttp.ClientSession) -> None:
    async with http.get(page.address + "config.json") as answer:
        assert await answer.json() == {"endpoint": "localhost", "port": 4000, "channel": "chat:1", "api": "/v1"}
    async with http.get(page.address + "token") as answer:
        assert (answer.content_type, await answer.text()) == ("application/jwt", "a.b.c")


async def test_a_prompt_is_passed_on_cut_to_its_limits(http: aiohttp.ClientSession) -> None:
    said: list[Prompt] = []
    async with serving(said) as page:
        body = {"name": "A" * 100, "text": "Why?", "all": True}
        async with http.post(page.address + "say", json=body) as answer:
            assert answer.status == 202
    assert said == [Prompt("A" * 24, "Why?", everyone=True)]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"name":"a","text":" "}', b"\xff"])
async def test_what_is_no_prompt_is_refused(page: DemoPage, http: aiohttp.ClientSession, body: bytes) -> None:
    async with http.post(page.address + "say", data=body) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["message"]


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
async def test_other_sites_may_not_press_buttons(
    page: DemoPage, http: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    async with http.post(page.address + "faults/cut", headers=headers) as answer:
        assert answer.status == 403


async def test_the_fault_board_lists_and_injects(page: DemoPage, http: aiohttp.ClientSession) -> None:
    async with http.get(page.address + "faults") as answer:
        assert await answer.json() == {
            "faults": [{"name": "cut", "title": "Cut", "description": "all", "active": True}]
        }
    async with http.post(page.address + "faults/cut") as answer:
        assert await answer.json() == {"message": "It is broken."}
    async with http.post(page.address + "faults/unknown") as answer:
        assert answer.status == 404


async def test_the_api_answers_under_the_page_s_own_origin(http: aiohttp.ClientSession) -> None:
    asked: list[str] = []

    async def answer_all(request: web.Request) -> web.Response:
        asked.append(request.raw_path)
        return web.json_response({"error": {"code": "not_found"}}, status=404)

    api = web.Application()
    api.router.add_get("/{tail:.*}", answer_all)
    runner = web.AppRunner(api)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        port = runner.addresses[0][1]
        async with (
            serving([], api=f"http://127.0.0.1:{port}") as page,
            http.get(page.address + "v1/responses/a?x=1") as answer,
        ):
            assert answer.status == 404
    finally:
        await runner.cleanup()
    assert asked == ["/v1/responses/a?x=1"]


async def test_stop_is_passed_on_with_a_credential_the_browser_has_not(http: aiohttp.ClientSession) -> None:
    asked: list[tuple[str, str, object]] = []

    async def take(request: web.Request) -> web.Response:
        asked.append((request.raw_path, request.headers["Authorization"], await request.json()))
        return web.json_response({"state": "requested"}, status=202)

    api = web.Application()
    api.router.add_post("/{tail:.*}", take)
    runner = web.AppRunner(api)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with serving([], api=f"http://127.0.0.1:{runner.addresses[0][1]}") as page:
            url = page.address + "v1/responses/r-1/cancel"
            async with http.post(url, json={"channel": "chat:other"}) as answer:
                assert answer.status == 202
            async with http.post(url, headers={"Origin": "http://evil.example"}) as answer:
                assert answer.status == 403
    finally:
        await runner.cleanup()
    assert asked == [("/v1/responses/r-1/cancel", "Bearer c.d.e", {"channel": "chat:1"})]


async def test_an_api_that_is_down_is_said(page: DemoPage, http: aiohttp.ClientSession) -> None:
    async with http.get(page.address + "v1/responses/a") as answer:
        assert answer.status == 502


async def test_a_taken_port_is_one_plain_sentence(page: DemoPage) -> None:
    with pytest.raises(PageUnavailable, match=rf"^Port {page.port} is taken: choose another with --port\.$"):
        async with serving([], port=page.port):
            pass


async def test_without_a_realtime_server_the_page_follows_the_gateway(http: aiohttp.ClientSession) -> None:
    gateway = Served()
    async with (
        serving_gateway(gateway),
        serving([], api=f"http://127.0.0.1:{gateway.port}", realtime=None) as page,
        http.get(page.address + "v1/channels/chat%3A1/events?limit=40") as answer,
    ):
        assert answer.content_type == "text/event-stream"
        written = b""
        while b"event: ready" not in written:
            written += await answer.content.readany()
        gateway.publish(start())
        while b"event: start" not in written:
            written += await answer.content.readany()
        async with http.get(page.address + "config.json") as config:
            assert await config.json() == {"channel": "chat:1", "api": "/v1"}


async def test_a_gateway_that_is_lost_ends_the_stream_of_the_page_quietly(
    http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = Served()
    async with (
        serving_gateway(gateway),
        CuttingProxy(gateway.port) as proxy,
        serving([], api=f"http://127.0.0.1:{proxy.port}", realtime=None) as page,
        http.get(page.address + "v1/channels/chat%3A1/events?limit=40") as answer,
    ):
        written = b""
        while b"event: ready" not in written:
            written += await answer.content.readany()
        proxy.cut()
        async with asyncio.timeout(20):
            assert await answer.content.read() == b""
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
