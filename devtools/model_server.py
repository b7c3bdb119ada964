"""A small OpenAI-compatible model server with real HTTP: streams the words of its prompt, and fails on request.

The request's `model` names a script. `words`: the last message's words, a token each. Others do the same, with a fault:

    refuses     429 with an error                   dies        3 tokens, then the connection breaks
    cut         3 tokens, then the answer ends      error       3 tokens, then an error chunk and [DONE]
    no-usage    no usage, though asked for          bare        no usage, no [DONE]
    silent      nothing after the headers           empty       ends after the headers
    endless     tokens until the connection closes  whole       one JSON object, no stream
    gated       waits for `release` before each token after the first
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

HEADERS = {"Content-Type": "text/event-stream; charset=utf-8", "x-request-id": "req-1"}
USAGE = {"prompt_tokens": 4, "completion_tokens": 2}


@dataclass
class Asked:
    """One request, and what was answered."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    query: str
    """As it was sent."""
    sent: bytearray = field(default_factory=bytearray)
    closed: bool = False
    """Whether its generation has ended, by itself or because the connection did."""
    finished: bool = False
    """Whether it ended by itself."""


class ModelServer:
    """Listens on a free port within its block. `pace` is the time between two tokens."""

    def __init__(self, pace: float = 0.0, port: int = 0) -> None:
        self.pace = pace
        self.asked: list[Asked] = []
        self.release = asyncio.Semaphore(0)
        self._port = port
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """To be given as BRIDGE_UPSTREAM."""
        assert self._runner is not None
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    @property
    def generating(self) -> int:
        return sum(not asked.closed for asked in self.asked)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**28)
        app.router.add_post("/v1/chat/completions", self._complete)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        authorization = request.headers.get("Authorization", "")
        return web.json_response({"object": "list", "data": [{"id": "m"}], "seen": authorization})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        asked = Asked(request.path, dict(request.headers), body, request.rel_url.raw_query_string)
        self.asked.append(asked)
        try:
            return await self._script(request, asked, str(body.get("model", "words")))
        finally:
            asked.closed = True

    async def _script(self, request: web.Request, asked: Asked, script: str) -> web.StreamResponse:
        if script == "refuses":
            refusal = {"error": {"message": "too many", "code": "rate_limited"}}
            return web.json_response(refusal, status=429, headers={"retry-after": "7"})
        if script == "whole":
            return web.json_response({"object": "chat.completion", "choices": []})
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        async for chunk in self._chunks(asked, script):
            if chunk is None:
                assert request.transport is not None
                request.transport.abort()
                return response
            asked.sent += chunk
            await response.write(chunk)
        asked.finished = True
        return response

    async def _chunks(self, asked: Asked, script: str) -> AsyncIterator[bytes | None]:
        if script in ("silent", "empty"):
            while script == "silent":
                await asyncio.sleep(3600)
            return
        yield _event(_chunk(asked, {"role": "assistant", "content": ""}))
        for number, word in enumerate(_words(asked, script)):
            if number == 3 and script in ("dies", "cut", "error"):
                break
            if number and script == "gated":
                await self.release.acquire()
            await asyncio.sleep(self.pace)
            yield _event(_chunk(asked, {"content": word}))
        if script == "dies":
            yield None
        elif script == "error":
            yield _event({"error": {"message": "out of memory", "code": 500}}) + b"data: [DONE]\n\n"
        elif script != "cut":
            yield _event(_chunk(asked, {}, finish_reason="stop"))
            if script not in ("no-usage", "bare"):
                yield _event({"id": "chatcmpl-7", "object": "chat.completion.chunk", "choices": [], "usage": USAGE})
            if script != "bare":
                yield b"data: [DONE]\n\n"
            while script == "lingers":
                await asyncio.sleep(0.2)
                yield b": ping\n\n"


def _words(asked: Asked, script: str) -> list[str]:
    messages = asked.body.get("messages")
    prompt = asked.body.get("prompt", "") if messages is None else messages[-1]["content"]
    words = [word + " " for word in str(prompt).split()]
    return words * 1_000_000 if script == "endless" else words


def _chunk(asked: Asked, delta: dict[str, Any], **choice: Any) -> dict[str, Any]:
    common = {"id": "chatcmpl-7", "created": 1763860000, "model": "m-large"}
    if asked.path.endswith("/chat/completions"):
        choices = [{"index": 0, "delta": delta, "finish_reason": None, **choice}]
        return {**common, "object": "chat.completion.chunk", "choices": choices}
    choices = [{"index": 0, "text": delta.get("content", ""), "finish_reason": None, **choice}]
    return {**common, "object": "text_completion", "choices": choices}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"
