"""What the example chat needs besides a relay: a stand-in for the bridge that writes to Kafka, and cancelling; the
rest is the API's.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from topics.producer import TokenProducer


class ModelServices:
    """Answers `POST /v1/chat/completions` as the bridge does, detached, and cancels what it writes. Passes other
    requests to the API.

    What is asked for is JSON: `tokens`, the `pause` between them in milliseconds, and whether to think and to call a
    tool first.
    """

    def __init__(self, producer: TokenProducer, api: str, http: aiohttp.ClientSession) -> None:
        self._producer = producer
        self._api = api
        self._http = http
        self._writing: dict[str, asyncio.Task[None]] = {}

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_post("/v1/responses/{id}/cancel", self._cancel)
        app.router.add_get("/{path:.*}", self._pass)
        return app

    async def close(self) -> None:
        for task in self._writing.values():
            task.cancel()
        await asyncio.gather(*self._writing.values(), return_exceptions=True)

    async def _complete(self, request: web.Request) -> web.Response:
        asked = json.loads((await request.json())["messages"][-1]["content"])
        channel = request.headers["x-tokenstream-channel"]
        response_id = request.headers["x-tokenstream-response-id"]
        self._writing[response_id] = asyncio.create_task(self._write(channel, response_id, asked))
        return web.json_response({"responseId": response_id, "channel": channel}, status=202)

    async def _write(self, channel: str, response_id: str, asked: dict[str, Any]) -> None:
        metadata = {"model": "example"}
        async with self._producer.response(channel, response_id=response_id, metadata=metadata) as response:
            if asked.get("thinks"):
                await response.token("Let me see.", kind="reasoning")
            if asked.get("calls"):
                info = {"name": "weather", "id": "call_1"}
                await response.token('{"city":"Oslo"}', kind="tool_call", part="call_1", part_info=info)
            for number in range(asked["tokens"]):
                await response.token(f"w{number} ")
                await asyncio.sleep(asked["pause"] / 1000)
            await response.stop(usage={"outputTokens": asked["tokens"]})

    async def _cancel(self, request: web.Request) -> web.Response:
        response_id = request.match_info["id"]
        if task := self._writing.get(response_id):
            task.cancel()
        return web.json_response({"responseId": response_id, "state": "requested"}, status=202)

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        headers = {"Last-Event-ID": position} if (position := request.headers.get("Last-Event-ID")) else {}
        async with self._http.get(URL(f"{self._api}{request.raw_path}", encoded=True), headers=headers) as answer:
            passed = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]})
            with contextlib.suppress(ConnectionError):  # the page may be gone
                await passed.prepare(request)
                async for chunk in answer.content.iter_any():
                    await passed.write(chunk)
            return passed


@contextlib.asynccontextmanager
async def model_services(bootstrap: str, api: str) -> AsyncIterator[str]:
    """The address of the services."""
    async with (
        TokenProducer(bootstrap) as producer,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(sock_read=60)) as http,
    ):
        services = ModelServices(producer, api, http)
        runner = web.AppRunner(services.app(), access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await services.close()
            await runner.cleanup()
