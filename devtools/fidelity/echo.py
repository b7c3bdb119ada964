"""A stand-in for `echo.ably.io`, the server that Ably's suites use for authUrl: it echoes its parameters, and makes
tokens.
"""

import json
import time
from collections.abc import Mapping

from aiohttp import web

from devtools.emulator.auth import EVERYTHING, Key, issue_token

TYPES = {"json": "application/json", "text": "text/plain", "jwt": "application/jwt"}


def echo_app() -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/", _say)
    app.router.add_route("*", "/qs_to_body", _say_query)
    app.router.add_route("*", "/respondwith", _respond)
    app.router.add_route("*", "/respondWith", _respond)
    app.router.add_route("*", "/createJWT", _token)
    app.router.add_route("*", "/methods", _method)
    return app


async def _given(request: web.Request) -> Mapping[str, str]:
    form = await request.post() if request.method == "POST" else {}
    return {**request.query, **{name: str(value) for name, value in form.items()}}


async def _say(request: web.Request) -> web.Response:
    given = await _given(request)
    return web.Response(text=given.get("body", ""), content_type=TYPES.get(given.get("type", "json"), "text/plain"))


async def _say_query(request: web.Request) -> web.Response:
    return web.json_response(dict(request.query))


async def _respond(request: web.Request) -> web.Response:
    given = await _given(request)
    kind = TYPES.get(given.get("type", ""), "application/json" if "body" in given else "text/plain")
    return web.Response(status=int(given.get("status", "200")), text=given.get("body", ""), content_type=kind)


async def _method(request: web.Request) -> web.Response:
    return web.json_response({"method": request.method.lower()})


async def _token(request: web.Request) -> web.Response:
    given = await _given(request)
    key = Key(given.get("keyName", ""), given.get("keySecret", ""))
    capability = json.loads(given["capability"]) if "capability" in given else EVERYTHING
    ttl = float(given.get("expiresIn", "3600"))
    token = issue_token(key, capability, given.get("clientId"), ttl, time.time())
    kind = TYPES.get(given.get("returnType", ""), "text/plain")
    return web.Response(text=token, content_type=kind)
