"""The API over a store and a real server, and a client of it. For tests."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from multidict import CIMultiDictProxy
from yarl import URL

from processor.api.access import Access, fixed_tokens
from processor.api.app import ApiLimits, ApiParts, make_app
from processor.config.values import read_api_tokens
from processor.ports.store import ResponseStore
from processor.telemetry.health import Check, Health
from processor.telemetry.metrics import Metrics
from processor.telemetry.server import HttpServer
from support.recorders import RecordingControls, RecordingTombstones


@dataclass
class Api:
    """A running server and a client of it."""

    store: ResponseStore
    tombstones: RecordingTombstones
    metrics: Metrics
    controls: RecordingControls
    url: str
    http: aiohttp.ClientSession

    async def delete(self, response_id: str, token: str = "anything") -> tuple[int, Any, CIMultiDictProxy[str]]:
        return await self.ask(f"/v1/responses/{response_id}", "DELETE", Authorization=f"Bearer {token}")

    async def cancel(
        self, response_id: str, body: bytes | None = None, *, token: str | None = "anything"
    ) -> tuple[int, Any, CIMultiDictProxy[str]]:
        """`body` unchanged."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        url = URL(f"{self.url}/v1/responses/{response_id}/cancel", encoded=True)
        async with self.http.post(url, data=body, headers=headers) as response:
            answer = await response.read()
            return response.status, orjson.loads(answer), response.headers

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
    metrics, tombstones, controls = Metrics(), RecordingTombstones(), RecordingControls()
    parts = {"controls": controls} | parts
    api = ApiParts(store, access or tokens("anything=*", is_open=True), tombstones, limits=limits, **parts)
    server = HttpServer(make_app(metrics, Health(metrics, lambda: checks), api), host="127.0.0.1", port=0)
    async with server, aiohttp.ClientSession(auto_decompress=False, headers={"Accept-Encoding": "identity"}) as http:
        yield Api(store, tombstones, metrics, controls, f"http://127.0.0.1:{server.port}", http)
