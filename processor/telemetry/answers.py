"""Error answers of every HTTP server of a process: always `{"error":{"code","message"}}`."""

from collections.abc import Mapping

import orjson
from aiohttp import web


class ApiError(Exception):
    """Ends a request with this answer. `message` is for people, and quotes nothing secret."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})

    def response(self) -> web.Response:
        body = orjson.dumps({"error": {"code": self.code, "message": self.message}})
        return web.Response(status=self.status, body=body, content_type="application/json", headers=self.headers)
