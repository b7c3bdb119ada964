"""The HTTP application: `/v1` with access, limits of time and memory, caching, compression, CORS and metrics."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import orjson
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from processor.api import query
from processor.api.access import Access, Asked, Grant, was_forwarded
from processor.api.budget import Budget
from processor.api.cancel import Cancels, read_body
from processor.api.cors import Cors
from processor.api.errors import not_found, unavailable
from processor.api.openapi import describe
from processor.api.refusals import Refusals
from processor.api.responses import Loading, Responses
from processor.api.routes import Route, Serves, authority, find_route
from processor.api.sending import Answer, Sender
from processor.errors import SettingsError, StoreUnavailable
from processor.ports.controls import Controls
from processor.ports.store import ResponseStore, Tombstones
from processor.telemetry.answers import ApiError
from processor.telemetry.health import Health
from processor.telemetry.log import where
from processor.telemetry.metrics import Metrics

REQUEST_SECONDS = 15.0

log = structlog.stdlib.get_logger("tokenstream.api")


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """`buffered_bytes`: of answers in memory. `write_seconds`: for a client to take the next part of its answer."""

    buffered_bytes: int = 96 * 1024 * 1024
    requests: int = 1000
    write_seconds: float = 30.0
    request_seconds: float = REQUEST_SECONDS
    cancel_rate: float = 100.0


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What `/v1` is made of. Without `tombstones` nothing can be deleted, without `controls` nothing cancelled."""

    store: ResponseStore
    access: Access
    tombstones: Tombstones | None = None
    cors_origins: tuple[str, ...] = ()
    limits: ApiLimits = ApiLimits()
    controls: Controls | None = None


Streams = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""Serves the streams under `/v1`. Returns None for any other path."""


def make_app(
    metrics: Metrics,
    health: Health,
    api: ApiParts | None,
    limits: ApiLimits = ApiLimits(),
    streams: Streams | None = None,
) -> web.Application:
    """Health and metrics for every role; `/v1` where `api` or `streams` is given."""
    sender = Sender((api.limits if api is not None else limits).write_seconds)
    app = web.Application(middlewares=[_written_by(sender)])
    app.on_response_prepare.append(_harden)
    health.add_routes(app)
    served = None if api is None else V1(metrics, api, sender, streams=streams is not None)
    servers: list[Streams] = [] if streams is None else [streams]
    if served is not None:
        servers.append(served.serve)
    if servers:
        app.router.add_route("*", r"/v1{tail:(?:/[\s\S]*)?}", _v1(servers))
    if served is not None:
        app.on_cleanup.append(served.close)
    return app


def _v1(servers: Sequence[Streams]) -> Handler:
    async def serve(request: web.Request) -> web.StreamResponse:
        for answers in servers:
            if (answer := await answers(request)) is not None:
                return answer
        return not_found("There is no such path.").response()

    return serve


async def _harden(_request: web.BaseRequest, response: web.StreamResponse) -> None:
    response.headers["Server"] = "tokenstream"
    response.headers["X-Content-Type-Options"] = "nosniff"


def _written_by(sender: Sender) -> Middleware:
    @web.middleware
    async def write(request: web.Request, handler: Handler) -> web.StreamResponse:
        """No answer of any route waits for its client without limit."""
        response = await handler(request)
        await sender.finish(request, response)
        return response

    return write


class V1:
    """Serves `/v1`."""

    def __init__(self, metrics: Metrics, api: ApiParts, sender: Sender, *, streams: bool = False) -> None:
        self._metrics = metrics
        self._streams = streams
        self._api = api
        self._sender = sender
        self._responses = Responses(api.store, api.tombstones)
        self._cancels = Cancels(api.store, self._responses, api.controls, metrics, rate=api.limits.cancel_rate)
        self._budget = Budget(max_bytes=api.limits.buffered_bytes, max_requests=api.limits.requests)
        self._cors = Cors(api.cors_origins, readers_only=api.access.open)
        self._refusals = Refusals()

    async def close(self, _app: web.Application) -> None:
        await self._responses.finish()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Raises only where the request is cancelled or its connection is lost: what else goes wrong is an answer, and counted."""
        route = "unknown"
        try:
            found = find_route(request.raw_path)
            route = found.template
            response = await self._serve(request, found)
        except ApiError as error:
            self._refusals.note(error, route, request.remote)
            response = error.response()
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - one bad request never ends the process
            # The type and the place alone: a message may hold text of a response.
            log.error(  # noqa: TRY400 - not its words
                "api_failed", route=route, error=type(error).__name__, where=where(error)
            )
            response = ApiError(500, "internal", "The server failed. Its log has the reason.").response()
        if not response.prepared:
            response.headers.update(self._cors.headers(request))
        self._metrics.count_api_request(route, response.status)
        return response

    async def _serve(self, request: web.Request, route: Route) -> web.StreamResponse:
        method = request.method
        if method == "OPTIONS":
            return web.Response(status=204, headers=self._cors.preflight(request, route))
        if method not in route.methods:
            allowed = {"Allow": ", ".join([*route.methods, "OPTIONS"])}
            raise ApiError(405, "method_not_allowed", "This path does not take that method.", allowed)
        # No memory is reserved for what is refused, nor for a deletion or a cancel, which may wait long for Kafka.
        async with self._budget.reserve(0) as share:
            async with self._bounded(route):
                loading = await self._begin(request, route, method)
            if loading is None:
                return web.Response(status=204)
            await share.grow(loading.memory)
            async with self._bounded(route):
                answer = await loading.load()
            share.shrink(answer.memory)
            return await self._send(request, answer)

    @contextlib.asynccontextmanager
    async def _bounded(self, route: Route) -> AsyncIterator[None]:
        """Bounds the time of the block. Raises ApiError for what the store and the settings raise."""
        try:
            async with asyncio.timeout(self._api.limits.request_seconds):
                yield
        except TimeoutError:
            raise ApiError(504, "timeout", "The answer took too long. Ask for less, or later.") from None
        except StoreUnavailable as error:
            log.warning("api_store_unavailable", route=route.template, error=str(error))
            raise unavailable("The store does not answer. Try again later.") from error
        except SettingsError as error:
            log.warning("api_settings_unusable", mistakes=error.mistakes)
            raise unavailable("The server's credentials can't be read. Try again later.") from error

    async def _begin(self, request: web.Request, route: Route, method: str) -> Loading | None:
        """Decides whether the caller may. Returns what remains to be loaded; None where all is done."""
        grant = await self._grant(request, deletes=method in ("DELETE", "POST"))
        query.check_names(request.query, route.parameters)
        argument = query.channel_of(request.query) if route.argument is None else route.argument
        match route.serves, method:
            case Serves.RESPONSE, "DELETE":
                await self._responses.delete(grant, argument)
                return None
            case Serves.RESPONSE, _:
                return await self._responses.get(grant, argument)
            case Serves.CANCEL, _:
                caller = request.headers.get("Authorization", "")
                return await self._cancels.cancel(grant, caller, argument, await read_body(request))
            case Serves.LISTING, _:
                return self._responses.list(grant, argument, query.listing(request.query))
            case Serves.HYDRATION, _:
                limit = query.limit(request.query, default=20, least=0)
                return self._responses.hydrate(grant, argument, limit, request.query.get("before"))
            case _:
                return Loading(0, self._description)

    async def _description(self) -> Answer:
        body = orjson.dumps(describe(version("tokenstream"), streams=self._streams))
        return Answer(iter((body,)), len(body), 0)

    async def _grant(self, request: web.Request, *, deletes: bool) -> Grant:
        target = authority(request.raw_path)
        hosts = request.headers.getall("Host", []) if target is None else [target]
        asked = Asked(
            request.headers.getall("Authorization", []), hosts, deletes, request.remote, was_forwarded(request.headers)
        )
        return await self._api.access.grant(asked)

    async def _send(self, request: web.Request, answer: Answer) -> web.StreamResponse:
        headers = {"Vary": "Accept-Encoding", "Cache-Control": "no-store"}
        if answer.etag is not None:
            # A finished response changes only by deletion, which a cache must notice: it asks each time.
            headers |= {"ETag": f'W/"{answer.etag}"', "Cache-Control": "private, no-cache"}
        headers |= self._cors.headers(request)
        if answer.etag is not None and _knows(request, answer.etag):
            return web.Response(status=304, headers=headers)
        return await self._sender.send(request, answer, headers)


def _knows(request: web.Request, etag: str) -> bool:
    """Weak comparison, as RFC 9110 asks for `If-None-Match`."""
    given = (tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(","))
    return any(tag in (f'"{etag}"', "*") for tag in given)
