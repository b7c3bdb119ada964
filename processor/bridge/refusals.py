"""Answers for requests that get no completion, in the format of OpenAI's errors."""

from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from topics.errors import TokenstreamError
from topics.records import JsonObject

NO_RETRY = {"x-should-retry": "false"}
"""Keeps OpenAI's clients from asking again by themselves: the response was written, and would be answered a second time."""


class Refusal(TokenstreamError):
    """Answered with `status`, and an error object that has `code` and `message`."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})

    def response(self) -> web.Response:
        return json_response(self.status, {"error": error_object(self.code, self.message)}, self.headers)


def error_object(code: str, message: str) -> JsonObject:
    return {"message": message, "type": "tokenstream_bridge", "param": None, "code": code}


def json_response(status: int, value: Any, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status, body=orjson.dumps(value), content_type="application/json", headers=dict(headers or {})
    )


def invalid(message: str, code: str = "invalid_request") -> Refusal:
    return Refusal(400, code, message)


def busy(code: str, message: str, seconds: int = 1) -> Refusal:
    """503: the caller may ask again."""
    return Refusal(503, code, message, {"Retry-After": str(seconds)})
