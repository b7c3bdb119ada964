"""What the example chat needs beside a relay: a model server that answers as the request asks, behind a real bridge."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from aiohttp import web

from devtools.deployment import LocalDeployment
from devtools.free_ports import HOST
from devtools.process import TokenstreamProcess, running

CALL: Final = {"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}


async def _complete(request: web.Request) -> web.StreamResponse:
    """What is asked for is JSON: `tokens`, the `pause` between them in milliseconds, and whether to think and to call a tool first."""
    asked = json.loads((await request.json())["messages"][-1]["content"])
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    with contextlib.suppress(ConnectionError):  # the bridge closes the connection of a cancelled answer
        await response.prepare(request)
        for chunk in _chunks(asked):
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
            await asyncio.sleep(asked["pause"] / 1000)
        await response.write(b"data: [DONE]\n\n")
    return response


def _chunks(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": "Let me see."}] if asked.get("thinks") else []
    deltas += [{"tool_calls": [CALL]}] if asked.get("calls") else []
    deltas += [{"content": f"w{number} "} for number in range(asked["tokens"])]
    for delta in deltas:
        yield _chunk({"index": 0, "delta": delta, "finish_reason": None})
    yield _chunk({"index": 0, "delta": {}, "finish_reason": "stop"})
    yield {**_chunk(), "usage": {"completion_tokens": asked["tokens"]}}


def _chunk(*choices: dict[str, Any]) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "example", "choices": choices}


@contextlib.asynccontextmanager
async def example_model(deployment: LocalDeployment) -> AsyncIterator[str]:
    """The address of the bridge."""
    app = web.Application()
    app.router.add_post("/v1/chat/completions", _complete)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0).start()
        async with _bridge(deployment, f"http://{HOST}:{runner.addresses[0][1]}/v1") as bridge:
            yield bridge.url
    finally:
        await runner.cleanup()


def _bridge(deployment: LocalDeployment, upstream: str) -> AbstractAsyncContextManager[TokenstreamProcess]:
    return running(deployment.new("bridge", name="The bridge", BRIDGE_UPSTREAM=upstream, LOG_FORMAT="console"))
