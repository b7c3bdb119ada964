"""An emulator of Ably's realtime service, for development and tests: unmodified Ably clients connect to it.

It binds to loopback only, keeps everything in memory, and knows one key.
"""

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import Collection
from types import TracebackType
from typing import Self

from aiohttp import web
from yarl import URL

from devtools.emulator import auth
from devtools.emulator.admin import Admin
from devtools.emulator.batch import Batches, abort
from devtools.emulator.channels import Bounds, Channels, Entry, standalone
from devtools.emulator.faults import Faults, RateLimits
from devtools.emulator.links import Links
from devtools.emulator.protocol import Protocol
from devtools.emulator.publishing import Publishing
from devtools.emulator.rest import Answer, Rest, with_cors, with_errors
from devtools.emulator.serials import Serials
from devtools.emulator.switches import FaultSwitches
from devtools.emulator.wire import Message

HOST = "127.0.0.1"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
DEFAULT_KEY = "local.key:secret"


class LocalRealtime:
    """`async with LocalRealtime() as server`: listens on `server.endpoint` until left.

    `admin` opens the admin interface and keeps a log of all that is published, without bound; `limits` enforces the
    real service's rates; `history_ttl` is in seconds. Port 0 takes a free one. It answers to the loopback names, and to `names`.
    """

    def __init__(
        self,
        key: str = DEFAULT_KEY,
        port: int = 0,
        admin: bool = False,
        limits: bool = False,
        history_ttl: float = 120.0,
        names: Collection[str] = (),
    ) -> None:
        self.port = port
        self._names = LOOPBACK_NAMES | frozenset(names)
        self.log: dict[str, list[Message]] = defaultdict(list)
        """Every message accepted on a channel, in order, as published; only with `admin`."""
        self._admin = admin
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._return: asyncio.TimerHandle | None = None
        epoch = time.time() - time.monotonic()
        channels = Channels(Serials(secrets.token_hex(5)), Bounds(ttl=history_ttl))
        publishing = Publishing(channels, epoch, self._record if admin else None)
        rules = Faults()
        if limits:
            rules.add(RateLimits(), time.monotonic())
        self._links = Links(Protocol(auth.Key.parse(key), publishing, rules, epoch), time.monotonic)
        self._rest = Rest(self._links)
        self.faults = FaultSwitches(self._links, self._go_down, self._come_up)

    @property
    def endpoint(self) -> str:
        return f"{HOST}:{self.port}"

    async def start(self) -> None:
        """Returns when connections are accepted. Raises OSError when the port is taken."""
        rest = self._rest
        middlewares = [self._for_this_machine, self._while_down, with_cors, with_errors]
        app = web.Application(middlewares=middlewares, client_max_size=4 * 1024 * 1024)
        app.router.add_get("/", self._root)
        app.router.add_routes([*rest.routes(), *Batches(self._links, rest).routes()])
        app.router.add_routes(self.further_routes())
        if self._admin:
            app.router.add_routes(Admin(self._links, self.faults, self.log).routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        await self._listen()
        self._links.reschedule()

    def further_routes(self) -> list[web.RouteDef]:
        """What is served besides; none here."""
        return []

    def answers_to(self, host: str) -> bool:
        """Whether a request that names this host is served: a page elsewhere may have its own name lead to this machine."""
        return host in self._names

    @property
    def connects(self) -> int:
        """Websockets that were opened with a good credential so far."""
        return self._links.protocol.totals.connects

    @property
    def keys(self) -> auth.Keyring:
        """The keys it takes; more may be added at any time."""
        return self._links.protocol.keys

    def authorize(self, request: web.Request) -> auth.Grant:
        """What the credential of a request allows. Raises Refused."""
        return self._rest.grant(request)

    async def stop(self) -> None:
        """All sockets are cut; may be called twice."""
        if self._return is not None:
            self._return.cancel()
        await self._links.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _root(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._links.serve(request)
        return web.Response(text="A local development emulator of Ably's realtime service; not Ably.\n")

    @web.middleware
    async def _for_this_machine(self, request: web.Request, handler: Answer) -> web.StreamResponse:
        if not self.answers_to(_host_of(request)):
            return web.Response(status=403, text="This server answers to localhost only. Connect to 127.0.0.1.\n")
        origin = request.headers.get("Origin")
        if origin is not None and request.path.startswith("/admin/") and request.method != "GET":
            return web.Response(status=403, text="Not from a web page.\n")
        return await handler(request)

    @web.middleware
    async def _while_down(self, request: web.Request, handler: Answer) -> web.StreamResponse:
        """What keeps a connection open is not served either; the switches for faults are."""
        if self._return is not None and not request.path.startswith("/admin/"):
            return abort(request)
        return await handler(request)

    async def _listen(self) -> None:
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, HOST, self.port, reuse_address=True)
        await self._site.start()
        addresses = self._runner.addresses
        self.port = addresses[-1][1]

    def _go_down(self, seconds: float) -> None:
        self._links.spawn(self._stop_listening())
        if self._return is not None:
            self._return.cancel()
        self._return = asyncio.get_running_loop().call_later(seconds, self._come_up)

    def _come_up(self) -> None:
        if self._return is not None:
            self._return.cancel()
            self._return = None
            self._links.spawn(self._listen())

    async def _stop_listening(self) -> None:
        if self._site is not None:
            await self._site.stop()

    def _record(self, channel: str, entry: Entry) -> None:
        self.log[channel].extend(standalone(message, entry) for message in entry.messages)


def _host_of(request: web.Request) -> str:
    """The host asked for, without its port; empty where it can't be read."""
    try:
        return URL(f"http://{request.headers.get('Host', '')}").host or ""
    except ValueError:
        return ""


def demo_token(key: str, capability: dict[str, list[str]], client_id: str | None, ttl: float) -> str:
    """A JSON web token for a browser, good for `ttl` seconds: it grants the capability and never shows the key."""
    return auth.issue_token(auth.Key.parse(key), capability, client_id, ttl, time.time())
