"""What the API answers when it can't do what was asked: always `{"error":{"code","message"}}`."""

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


def bad_request(message: str) -> ApiError:
    return ApiError(400, "bad_request", message)


def not_found(message: str = "there is no such response") -> ApiError:
    return ApiError(404, "not_found", message)


def unauthorized(message: str) -> ApiError:
    return ApiError(401, "unauthorized", message, {"WWW-Authenticate": "Bearer"})


def forbidden(message: str) -> ApiError:
    return ApiError(403, "forbidden", message)


def unavailable(message: str) -> ApiError:
    return ApiError(503, "unavailable", message, {"Retry-After": "2"})


def overloaded(message: str) -> ApiError:
    return ApiError(503, "overloaded", message, {"Retry-After": "5"})
