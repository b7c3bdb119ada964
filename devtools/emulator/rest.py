"""Ably's REST interface, as far as its clients need it here: time, tokens, publish, history, message updates."""

import asyncio
import base64
import binascii
import json
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from urllib.parse import quote, unquote_to_bytes

import msgspec
from aiohttp import web

from devtools.emulator import faults, wire
from devtools.emulator.auth import Grant, Refused, refuse
from devtools.emulator.channels import Entry, Page, split_qualifier, standalone
from devtools.emulator.connections import Connection
from devtools.emulator.links import Links
from devtools.emulator.tokens import TokenRequests
from devtools.emulator.wire import Format, Message

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
MAX_PAGE = 1000
_ALLOWED_HEADERS = (
    "authorization, content-type, accept, x-ably-version, ably-agent, x-ably-clientid, x-ably-lib, x-requested-with"
)


class Rest:
    def __init__(self, links: Links) -> None:
        self._links = links
        self._protocol = links.protocol
        self._tokens = TokenRequests(links.protocol.keys)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/time", self._time),
            web.post("/keys/{key}/requestToken", self._request_token),
            web.post("/channels/{channel}/messages", self._publish),
            web.get("/channels/{channel}/messages", self._history),
            web.get("/channels/{channel}/history", self._history),
            web.get("/channels/{channel}/messages/{serial}", self._message),
            web.get("/channels/{channel}/messages/{serial}/versions", self._versions),
            web.patch("/channels/{channel}/messages/{serial}", self._change),
        ]

    async def _time(self, request: web.Request) -> web.Response:
        return respond(request, [self._wall_ms()])

    async def _request_token(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        trusted = False
        if _credentials(request)[0] is not None:
            trusted = self.grant(request).is_key
        body = body if isinstance(body, dict) else {}
        body.setdefault("keyName", request.match_info["key"])
        details = self._tokens.answer(body, self._wall_ms() / 1000, trusted=trusted)
        return respond(request, details, status=201)

    async def _publish(self, request: web.Request) -> web.Response:
        grant = self.grant(request)
        channel = _channel(request)
        raw = await request.read()
        return self._accept(request, grant, channel, wire.decode_messages(raw, body_format(request)), len(raw))

    def _accept(
        self, request: web.Request, grant: Grant, channel: str, messages: list[Message], size: int
    ) -> web.Response:
        protocol, now = self._protocol, self._links.now()
        refusal = protocol.faults.first(faults.Nack, channel) if protocol.faults.active else None
        if refusal is not None:
            raise Refused(refusal.error())
        connection = self._behalf(messages)
        if connection is None and grant.client_id is None and (client_id := _client_id(request)) is not None:
            grant = replace(grant, client_id=client_id)
        result = protocol.publishing.publish(
            channel, messages, grant, now, connection=connection, fallback=secrets.token_urlsafe(9), size=size
        )
        protocol.count(result.entry is not None)
        self._links.perform([*result.fanouts])
        told = {"channel": channel, "messageId": result.id, "serials": list(result.serials)}
        if request.method == "PATCH":
            return respond(request, {"versionSerial": result.serials[0]})
        return respond(request, told, status=201)

    def _behalf(self, messages: list[Message]) -> Connection | None:
        """Returns the connection that the messages name as their publisher. Raises Refused 40006."""
        keys = {message.connection_key for message in messages if message.connection_key is not None}
        if not keys:
            return None
        connection = self._protocol.connections.resumable(keys.pop())
        if connection is None or keys:
            raise refuse(40006, "Invalid connection ID: no connection has the connectionKey given")
        for message in messages:
            message.connection_key = None
        return connection

    async def _change(self, request: web.Request) -> web.Response:
        grant = self.grant(request)
        raw = await request.read()
        messages = wire.decode_messages(raw, body_format(request))
        for message in messages:
            message.serial = request.match_info["serial"]
        return self._accept(request, grant, _channel(request), messages, len(raw))

    async def _message(self, request: web.Request) -> web.Response:
        entry, message = self._found(request)
        return respond(request, standalone(message, entry))

    async def _versions(self, request: web.Request) -> web.Response:
        serial = request.match_info["serial"]
        entry, channel = self._found(request)[0], self._protocol.channels.peek(split_qualifier(_channel(request))[0])
        versions = channel.versions(serial) if channel is not None else []
        return respond(request, [standalone(version, entry) for version in versions])

    def _found(self, request: web.Request) -> tuple[Entry, Message]:
        routed = split_qualifier(_channel(request))[0]
        self.grant(request).require("history", routed)
        channel = self._protocol.channels.peek(routed)
        found = channel.find(request.match_info["serial"]) if channel is not None else None
        if found is None:
            raise refuse(40400, f"No message with serial {request.match_info['serial']!r} is kept")
        return found[0], found[0].messages[found[1]]

    async def _history(self, request: web.Request) -> web.Response:
        routed = split_qualifier(_channel(request))[0]
        self.grant(request).require("history", routed)
        fault = self._protocol.faults.first(faults.History, routed) if self._protocol.faults.active else None
        if (odd := self.odd_answer([routed])) is not None:
            return odd_response(odd)
        if fault is not None and fault.hang:
            await asyncio.Event().wait()
        if fault is not None and fault.status is not None:
            raise Refused(wire.error(fault.code or 50003, status=fault.status))
        channel = self._protocol.channels.peek(routed)
        page = self._page(request, fault)
        self._protocol.channels.expire(self._links.now())
        found, cursor = channel.history(page) if channel is not None else ([], None)
        if fault is not None and fault.missing:
            lossy = faults.Armed(fault, 0.0)
            found = [message for message in found if not lossy.chance(fault.missing)]
        return respond(request, found, headers=_links_of(request, cursor))

    def odd_answer(self, channels: list[str]) -> faults.OddAnswer | None:
        rules = self._protocol.faults
        found = [rules.first(faults.OddAnswer, channel) for channel in channels] if rules.active else []
        return next((rule for rule in found if rule is not None), None)

    def _page(self, request: web.Request, fault: faults.History | None) -> Page:
        query = request.query
        try:
            limit = int(query.get("limit", "100"))
            start, end = (int(query[name]) if name in query else None for name in ("start", "end"))
        except ValueError as error:
            raise refuse(40000, "limit, start and end must be integers") from error
        if not 0 < limit <= MAX_PAGE:
            raise refuse(40000, f"limit must be 1 to {MAX_PAGE}")
        stale = fault.stale_seconds if fault is not None else 0.0
        return Page(
            limit=limit,
            forwards=query.get("direction") == "forwards",
            start=start,
            end=end,
            until=query.get("from_serial") or query.get("fromSerial"),
            cursor=query.get("cursor"),
            hidden_since=self._wall_ms() - int(stale * 1000) if stale else None,
        )

    def grant(self, request: web.Request) -> Grant:
        key, token = _credentials(request)
        return self._protocol.authorize(key, token, self._links.now())

    def _wall_ms(self) -> int:
        return int((self._protocol.epoch + self._links.now()) * 1000)

    async def _body(self, request: web.Request) -> object:
        raw = await request.read()
        try:
            return msgspec.msgpack.decode(raw) if body_format(request) is Format.MSGPACK else msgspec.json.decode(raw)
        except msgspec.DecodeError as error:
            raise refuse(40000, f"The body can't be decoded: {error}") from error


def _credentials(request: web.Request) -> tuple[str | None, str | None]:
    """The key and the token given. Raises Refused 40101."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if not scheme:
        return request.query.get("key"), request.query.get("access_token") or request.query.get("accessToken")
    try:
        text = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        text = value
    match scheme.lower():
        case "basic":
            return text, None
        case "bearer":
            return None, text
    raise refuse(40101, f"Authorization scheme {scheme!r} is neither Basic nor Bearer")


def _client_id(request: web.Request) -> str | None:
    """Returns the client id that the key's holder claims. Raises Refused 40012."""
    given = request.headers.get("X-Ably-ClientId")
    try:
        return base64.b64decode(given, validate=True).decode() if given else None
    except (binascii.Error, UnicodeDecodeError) as error:
        raise refuse(40012, "X-Ably-ClientId is not base64 of UTF-8") from error


def _channel(request: web.Request) -> str:
    """By RFC 3986: a `+` in a path is a plus. Raises Refused 40010."""
    try:
        return unquote_to_bytes(request.raw_path.partition("?")[0].split("/")[2]).decode()
    except UnicodeDecodeError as error:
        raise refuse(40010, "The channel's name in the path is not UTF-8") from error


def body_format(request: web.Request) -> Format:
    return Format.MSGPACK if "msgpack" in request.headers.get("Content-Type", "") else Format.JSON


def _answer_format(request: web.Request) -> Format:
    asked = request.query.get("format", "") or request.headers.get("Accept", "")
    msgpack, json_at = asked.find("msgpack"), asked.find("json")
    return Format.MSGPACK if msgpack >= 0 and (json_at < 0 or msgpack < json_at) else Format.JSON


def _links_of(request: web.Request, cursor: str | None) -> dict[str, str]:
    """Relative links without commas; no `next` on the last page."""
    kept = {name: value for name, value in request.query.items() if name not in ("cursor", "envelope", "rnd")}

    def link(rel: str, extra: dict[str, str]) -> str:
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in {**kept, **extra}.items())
        return f'<./messages?{query}>; rel="{rel}"'

    here = {"cursor": request.query["cursor"]} if "cursor" in request.query else {}
    links = [link("first", {}), link("current", here)]
    if cursor is not None:
        links.append(link("next", {"cursor": cursor}))
    return {"link": ", ".join(links)}


def respond(
    request: web.Request, value: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """In the format asked for; inside an envelope for browsers, which can't read the Link header."""
    encoding = _answer_format(request)
    if request.query.get("envelope") == "json":
        inner = json.loads(wire.encode_value(value, Format.JSON))
        value = {"statusCode": status, "response": inner, "headers": headers or {}}
        status, headers, encoding = 200, None, Format.JSON
    kind = "application/x-msgpack" if encoding is Format.MSGPACK else "application/json"
    body = wire.encode_value(value, encoding)
    return web.Response(body=body, status=status, content_type=kind, headers=headers)


def odd_response(odd: faults.OddAnswer) -> web.Response:
    headers = {"Content-Type": odd.content_type} if odd.content_type else {}
    return web.Response(body=odd.body.encode(), status=odd.status, headers=headers)


@web.middleware
async def with_errors(request: web.Request, handler: Answer) -> web.StreamResponse:
    """Refusals as Ably's error bodies."""
    try:
        return await handler(request)
    except Refused as refused:
        info = refused.info
    except wire.NotProtocol as error:
        info = wire.error(40000, str(error))
    except web.HTTPException as error:
        unknown = error.status in (404, 405)  # the real service knows no path by other methods
        info = wire.error(40400 if unknown else 40000, error.reason, 404 if unknown else error.status)
    headers = {"X-Ably-Errorcode": str(info.code), "X-Ably-Errormessage": info.message}
    return respond(request, {"error": info}, status=info.status_code, headers=headers)


@web.middleware
async def with_cors(request: web.Request, handler: Answer) -> web.StreamResponse:
    """Browsers of any origin may call: they carry credentials, so the origin is echoed. Not what needs no credential."""
    if request.path.startswith("/admin/"):
        return await handler(request)
    preflight = request.method == "OPTIONS"
    response = web.Response(status=204) if preflight else await handler(request)
    origin = request.headers.get("Origin")
    if origin is not None and not response.prepared:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
        response.headers["Access-Control-Expose-Headers"] = "Link, X-Ably-ErrorCode, X-Ably-ErrorMessage"
        response.headers["Vary"] = "Origin"
        if preflight:
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
            response.headers["Access-Control-Allow-Headers"] = _ALLOWED_HEADERS
            response.headers["Access-Control-Max-Age"] = "600"
    return response
