"""CORS: only an origin in the setting gets the headers that let a browser give the answer to the page."""

import re
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

_HEADER_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:\s*,\s*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")
_LONGEST = 2048


class HasMethods(Protocol):
    """A route."""

    @property
    def methods(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Cors:
    """`readers_only`: the server grants anyone reading, and any origin (`*`) may not ask for more."""

    origins: tuple[str, ...]
    readers_only: bool

    def headers(self, request: web.Request) -> dict[str, str]:
        """For every answer."""
        if not self.origins:
            return {}
        headers = {"Vary": "Accept-Encoding, Origin"}
        if self._allows(request):
            headers["Access-Control-Allow-Origin"] = "*" if "*" in self.origins else request.headers["Origin"]
            headers["Access-Control-Expose-Headers"] = "ETag, Retry-After"
        return headers

    def preflight(self, request: web.Request, route: HasMethods) -> dict[str, str]:
        """For `OPTIONS`. An allowed origin gets the headers it asks for: tracing libraries add theirs to every request."""
        methods = [*route.methods, "OPTIONS"]
        headers = {"Allow": ", ".join(methods)}
        if not self._allows(request):
            return headers
        if self.readers_only and "*" in self.origins:
            methods = [method for method in methods if method not in ("DELETE", "POST")]
        asked = request.headers.get("Access-Control-Request-Headers", "")
        valid = len(asked) <= _LONGEST and _HEADER_NAMES.fullmatch(asked.strip()) is not None
        return headers | {
            "Access-Control-Allow-Methods": ", ".join(methods),
            "Access-Control-Allow-Headers": asked.strip()
            if valid
            else "Authorization, Content-Type, If-None-Match, Last-Event-ID",
            "Access-Control-Max-Age": "600",
        }

    def _allows(self, request: web.Request) -> bool:
        origin = request.headers.get("Origin")
        return origin is not None and ("*" in self.origins or origin in self.origins)
