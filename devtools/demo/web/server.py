"""The web server of the demo's page: its files, a token for the browser, prompts, the fault board, and the API on one
origin.

It binds to loopback. The browser gets a token that may subscribe and read history, never the key; its cancels pass
through this server, which adds a credential. The page's policy allows requests only to this server and the local
realtime server.
"""

import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web
from yarl import URL

from processor.errors import Fatal

HOST = "127.0.0.1"
MAX_PROMPT = 4_000
MAX_NAME = 24
STATIC = Path(__file__).with_name("static")
PROXY_TIMEOUT = 15.0


class PageUnavailable(Fatal):
    """The page cannot be served. The message has what is missing or in use."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A button of the fault board.

    `inject` breaks something, or ends the fault early if it `is_active()`. It returns a sentence on what happens now.
    """

    name: str
    title: str
    description: str
    inject: Callable[[], Awaitable[str]]
    is_active: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Prompt:
    name: str
    text: str
    everyone: bool
    """Whether all models are to answer, not one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaborators:
    """The servers behind the page. `api` is the API's address without `/v1`, `realtime` that of the realtime server,
    `host:port`; without one the page follows the gateway under `api`.
    """

    realtime: str | None
    api: str
    channel: str
    token: Callable[[], str]
    cancel_token: Callable[[], str]
    """A credential of the API that may cancel responses of `channel`."""
    say: Callable[[Prompt], Awaitable[None]]
    faults: tuple[Fault, ...] = ()


def libraries() -> dict[str, Path]:
    """Files of other packages the page loads, by the path it loads them from."""
    root = Path(__file__).parents[3]
    modules, client = root / "node_modules", root / "clients" / "javascript" / "src"
    return {
        "/lib/ably.js": modules / "ably" / "build" / "ably.min.js",
        "/lib/marked.js": modules / "marked" / "lib" / "marked.esm.js",
        **{f"/lib/tokenstream/{path.name}": path for path in sorted(client.glob("*.js"))},
    }


def check_servable(port: int) -> None:
    """Raises PageUnavailable when the page could not be served on `port`: asked before anything slow is started."""
    missing = [str(path) for path in libraries().values() if not path.is_file()]
    if missing:
        raise PageUnavailable(f"The page's libraries are not installed ({missing[0]} is missing): run `make setup`.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PageUnavailable(f"Port {port} is taken: choose another with --port.") from error


class DemoPage:
    """`async with DemoPage(collaborators) as page`: listens on `page.address` until left. Port 0 takes a free one.

    Raises PageUnavailable on entry, when the port is taken or a library is not installed.
    """

    def __init__(self, collaborators: Collaborators, port: int = 0) -> None:
        self.port = port
        self._with = collaborators
        self._faults = {fault.name: fault for fault in collaborators.faults}
        self._runner: web.AppRunner | None = None
        self._client: aiohttp.ClientSession | None = None

    @property
    def address(self) -> str:
        return f"http://localhost:{self.port}/"

    async def __aenter__(self) -> Self:
        missing = [str(path) for path in libraries().values() if not path.is_file()]
        if missing:
            raise PageUnavailable(
                f"The page's libraries are not installed ({missing[0]} is missing): run `make setup`."
            )
        self._client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PROXY_TIMEOUT))
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self.port)
        try:
            await site.start()
        except OSError as error:
            await self.close()
            raise PageUnavailable(f"Port {self.port} is taken: choose another with --port.") from error
        self.port = self._runner.addresses[-1][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._client is not None:
            await self._client.close()

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._guarded], client_max_size=64 * 1024)
        app.router.add_get("/", self._file(STATIC / "index.html"))
        for path in sorted(STATIC.iterdir()):
            app.router.add_get(f"/{path.name}", self._file(path))
        for route, path in libraries().items():
            app.router.add_get(route, self._file(path))
        app.router.add_get("/config.json", self._config)
        app.router.add_get("/token", self._token)
        app.router.add_post("/say", self._say)
        app.router.add_get("/faults", self._list_faults)
        app.router.add_post("/faults/{name}", self._inject)
        app.router.add_post("/v1/responses/{id}/cancel", self._cancel)
        app.router.add_get("/v1/{tail:.*}", self._proxy)
        return app

    @web.middleware
    async def _guarded(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Only pages of this origin may change anything, and only this machine's names lead here."""
        host = request.host.rpartition(":")[0] or request.host
        origin = request.headers.get("Origin")
        if host not in ("localhost", HOST):
            raise web.HTTPForbidden(text="This page is served to localhost only.\n")
        if request.method != "GET" and origin is not None and origin != f"http://{request.host}":
            raise web.HTTPForbidden(text="Not from another site.\n")
        response = await handler(request)
        if response.prepared:
            return response
        response.headers["Content-Security-Policy"] = self._policy()
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cache-Control"] = "no-store"
        return response

    def _policy(self) -> str:
        realtime = "" if self._with.realtime is None else self._with.realtime.replace(HOST, "localhost")
        connections = " ".join(f"{scheme}://{realtime}" for scheme in ("ws", "http") if realtime)
        return (
            f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' {connections}; "
            "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
        )

    def _file(self, path: Path) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def give(_: web.Request) -> web.FileResponse:
            return web.FileResponse(path)

        return give

    async def _config(self, _: web.Request) -> web.Response:
        config: dict[str, object] = {"channel": self._with.channel, "api": "/v1"}
        if self._with.realtime is not None:
            config |= {"endpoint": "localhost", "port": int(self._with.realtime.rpartition(":")[2])}
        return web.json_response(config)

    async def _token(self, _: web.Request) -> web.Response:
        return web.Response(text=self._with.token(), content_type="application/jwt")

    async def _say(self, request: web.Request) -> web.Response:
        try:
            given = json.loads(await request.read())
            prompt = Prompt(str(given["name"])[:MAX_NAME], str(given["text"])[:MAX_PROMPT], bool(given.get("all")))
        except (ValueError, KeyError, TypeError):
            return _refusal(400, "A prompt is a JSON object with `name` and `text`.")
        if not prompt.text.strip():
            return _refusal(400, "The prompt is empty.")
        await self._with.say(prompt)
        return web.json_response({}, status=202)

    async def _list_faults(self, _: web.Request) -> web.Response:
        faults = [
            {"name": one.name, "title": one.title, "description": one.description, "active": one.is_active()}
            for one in self._faults.values()
        ]
        return web.json_response({"faults": faults})

    async def _inject(self, request: web.Request) -> web.Response:
        fault = self._faults.get(request.match_info["name"])
        if fault is None:
            return _refusal(404, "There is no such fault.")
        return web.json_response({"message": await fault.inject()})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """A stream of the gateway, piece by piece as it comes."""
        assert self._client is not None
        last = {name: request.headers[name] for name in ("Last-Event-ID",) if name in request.headers}
        url = URL(f"{self._with.api}{request.raw_path}", encoded=True)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=PROXY_TIMEOUT)
        response = web.StreamResponse()
        try:
            async with self._client.get(url, headers=last, timeout=timeout) as answer:
                response.set_status(answer.status)
                response.content_type = answer.content_type
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
        except (aiohttp.ClientError, TimeoutError):
            if not response.prepared:
                return _refusal(502, "The gateway does not answer at the moment.")
        return response  # where the gateway was lost the stream ends, and the page connects again

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        """Cancels a response of the page's own channel; the body is ignored."""
        headers = {"Authorization": f"Bearer {self._with.cancel_token()}"}
        return await self._ask(request, "POST", json={"channel": self._with.channel}, headers=headers)

    async def _proxy(self, request: web.Request) -> web.StreamResponse:
        """The API under the page's own origin, so that it needs no CORS."""
        return await self._ask(request, "GET")

    async def _ask(self, request: web.Request, method: str, **given: Any) -> web.StreamResponse:
        assert self._client is not None
        if request.path.endswith("/events"):
            return await self._stream(request)
        url = URL(f"{self._with.api}{request.raw_path}", encoded=True)
        try:
            async with self._client.request(method, url, **given) as answer:
                body = await answer.read()
                return web.Response(body=body, status=answer.status, content_type=answer.content_type)
        except (aiohttp.ClientError, TimeoutError):
            return _refusal(502, "The API does not answer at the moment.")


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"code": "refused", "message": message}, "message": message}, status=status)
