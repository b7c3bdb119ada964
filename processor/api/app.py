"""The HTTP application: `/v1` routed on the raw path, with access, time limits, caching, compression, CORS and metrics.

Ids and channel names are one percent-encoded segment each and may hold anything, `%2F` and `%2E%2E` too. So nothing decodes or
normalises a path before it was split here.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.metadata import version
from urllib.parse import unquote_to_bytes

import orjson
import structlog
from aiohttp import web

from processor.api.access import Access, Grant
from processor.api.errors import ApiError, bad_request, not_found, unavailable
from processor.api.health import Health
from processor.api.openapi import describe
from processor.api.responses import MAX_LIMIT, Answer, Listing, Responses
from processor.errors import StoreUnavailable
from processor.metrics import Metrics
from processor.store_port import ResponseStore, Tombstones
from topics.records import Status

REQUEST_SECONDS = 15.0
COMPRESSED_FROM = 1024

log = structlog.stdlib.get_logger("tokenstream.api")


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What `/v1` is made of. Without `tombstones` nothing can be deleted."""

    store: ResponseStore
    access: Access
    tombstones: Tombstones | None = None
    cors_origins: tuple[str, ...] = ()
    request_seconds: float = REQUEST_SECONDS


RESPONSES = web.AppKey("responses", Responses)
PARTS = web.AppKey("parts", ApiParts)
METRICS = web.AppKey("metrics", Metrics)

Serve = Callable[[web.Request, Grant, str], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """`template` is the metric's label; `methods` leads to what serves each."""

    template: str
    methods: dict[str, Serve]
    argument: str = ""


def make_app(metrics: Metrics, health: Health, api: ApiParts | None) -> web.Application:
    """Health and metrics for every role; `/v1` where `api` is given."""
    app = web.Application()
    app[METRICS] = metrics
    health.add_routes(app)
    if api is not None:
        app[PARTS] = api
        app[RESPONSES] = Responses(api.store, api.tombstones)
        app.router.add_route("*", r"/v1{tail:(?:/[\s\S]*)?}", serve_v1)
    return app


async def serve_v1(request: web.Request) -> web.StreamResponse:
    """Never raises but for a cancelled request: what goes wrong is an answer, and counted."""
    route = "unknown"
    try:
        found = find_route(request.raw_path)
        route = found.template
        response = await _serve(request, found)
    except ApiError as error:
        response = error.response()
    except Exception as error:
        # The type alone: a message may hold text of a response.
        log.exception("api_failed", route=route, error=type(error).__name__)
        response = ApiError(500, "internal", "this is a fault of the server; its log says more").response()
    _add_cors(request, response)
    request.app[METRICS].count_api_request(route, response.status)
    return response


async def _serve(request: web.Request, route: Route) -> web.StreamResponse:
    method = "GET" if request.method == "HEAD" else request.method
    if method == "OPTIONS":
        return _preflight(route)
    serve = route.methods.get(method)
    if serve is None:
        raise ApiError(405, "method_not_allowed", "this path does not take that method", {"Allow": _allowed(route)})
    grant = request.app[PARTS].access.grant(request.headers.get("Authorization")) if route.argument else Grant()
    try:
        async with asyncio.timeout(request.app[PARTS].request_seconds):
            return await serve(request, grant, route.argument)
    except TimeoutError:
        raise ApiError(504, "timeout", "the answer took too long; ask for less, or later") from None
    except StoreUnavailable as error:
        log.warning("api_store_unavailable", route=route.template, error=str(error))
        raise unavailable("the store does not answer; try again") from error


def find_route(raw_path: str) -> Route:
    """Raises ApiError 404 for a path that is none, 400 for one that is not UTF-8."""
    path = raw_path.split("?", 1)[0].split("#", 1)[0]
    match path.split("/"):
        case ["", "v1", "openapi.json"]:
            return Route("/v1/openapi.json", {"GET": _describe})
        case ["", "v1", "responses", response_id] if response_id:
            methods: dict[str, Serve] = {"GET": _get_response, "DELETE": _delete_response}
            return Route("/v1/responses/{responseId}", methods, _decoded(response_id))
        case ["", "v1", "channels", channel, "responses"] if channel:
            return Route("/v1/channels/{channel}/responses", {"GET": _list_channel}, _decoded(channel))
        case ["", "v1", "channels", channel, "hydrate"] if channel:
            return Route("/v1/channels/{channel}/hydrate", {"GET": _hydrate}, _decoded(channel))
        case _:
            raise not_found("there is no such path; /v1/openapi.json lists them")


def _decoded(segment: str) -> str:
    try:
        return unquote_to_bytes(segment.encode("utf-8", "surrogateescape")).decode()
    except UnicodeError:
        raise bad_request("the path is not percent-encoded UTF-8") from None


# What serves each route


async def _describe(request: web.Request, _grant: Grant, _argument: str) -> web.StreamResponse:
    return _answer(request, Answer(orjson.dumps(describe(version("tokenstream")))))


async def _get_response(request: web.Request, grant: Grant, response_id: str) -> web.StreamResponse:
    return _answer(request, await request.app[RESPONSES].get(grant, response_id))


async def _delete_response(request: web.Request, grant: Grant, response_id: str) -> web.StreamResponse:
    await request.app[RESPONSES].delete(grant, response_id)
    return web.Response(status=204)


async def _list_channel(request: web.Request, grant: Grant, channel: str) -> web.StreamResponse:
    listing = Listing(
        limit=_limit(request, default=50, least=1),
        before=request.query.get("before"),
        status=_statuses(request),
        fields=_names(request, "fields"),
    )
    return _answer(request, await request.app[RESPONSES].list(grant, channel, listing))


async def _hydrate(request: web.Request, grant: Grant, channel: str) -> web.StreamResponse:
    limit = _limit(request, default=20, least=0)
    return _answer(request, await request.app[RESPONSES].hydrate(grant, channel, limit))


# Arguments of the query


def _limit(request: web.Request, *, default: int, least: int) -> int:
    text = request.query.get("limit")
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10) or not least <= int(text) <= MAX_LIMIT:
        raise bad_request(f"limit must be a whole number from {least} to {MAX_LIMIT}")
    return int(text)


def _names(request: web.Request, name: str) -> frozenset[str] | None:
    """Both `a,b` and a repeated parameter. Absent or empty is None: no restriction."""
    names = {part.strip() for text in request.query.getall(name, ()) for part in text.split(",")} - {""}
    return frozenset(names) or None


def _statuses(request: web.Request) -> frozenset[Status] | None:
    names = _names(request, "status")
    try:
        return None if names is None else frozenset(Status(name) for name in names)
    except ValueError:
        raise bad_request(f"status must be of {', '.join(Status)}, with commas between") from None


# Headers


def _answer(request: web.Request, answer: Answer) -> web.Response:
    headers = {"Vary": "Accept-Encoding", "Cache-Control": "no-store"}
    if answer.etag is not None:
        # A finished response changes only by deletion, which a cache must notice: it asks each time.
        headers |= {"ETag": f'W/"{answer.etag}"', "Cache-Control": "private, no-cache"}
        if _knows(request, answer.etag):
            return web.Response(status=304, headers=headers)
    response = web.Response(body=answer.body, content_type="application/json", headers=headers)
    if len(answer.body) >= COMPRESSED_FROM and _takes_gzip(request):
        response.enable_compression(web.ContentCoding.gzip)
    return response


def _knows(request: web.Request, etag: str) -> bool:
    """Weak comparison, as RFC 9110 asks for `If-None-Match`."""
    given = (tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(","))
    return any(tag in (f'"{etag}"', "*") for tag in given)


def _takes_gzip(request: web.Request) -> bool:
    for entry in request.headers.get("Accept-Encoding", "").split(","):
        coding, _, parameters = entry.partition(";")
        if coding.strip().lower() in ("gzip", "*"):
            return parameters.replace(" ", "").lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _allowed(route: Route) -> str:
    return ", ".join([*route.methods, "HEAD", "OPTIONS"])


def _preflight(route: Route) -> web.Response:
    headers = {
        "Allow": _allowed(route),
        "Access-Control-Allow-Methods": _allowed(route),
        "Access-Control-Allow-Headers": "Authorization, If-None-Match",
        "Access-Control-Max-Age": "600",
    }
    return web.Response(status=204, headers=headers)


def _add_cors(request: web.Request, response: web.StreamResponse) -> None:
    """Only an origin of the setting gets the headers without which browsers keep the answer from the page."""
    origins = request.app[PARTS].cors_origins
    origin = request.headers.get("Origin")
    if origins:
        response.headers["Vary"] = "Accept-Encoding, Origin"
    if origin is not None and ("*" in origins or origin in origins):
        response.headers["Access-Control-Allow-Origin"] = "*" if "*" in origins else origin
        response.headers["Access-Control-Expose-Headers"] = "ETag"
