"""The HTTP server: how it stops."""

import asyncio
from collections.abc import Callable

import aiohttp
import pytest
import uvloop
from aiohttp import web

from processor.telemetry.server import HttpServer


def serving_forever(entered: asyncio.Event, left: asyncio.Event, *, sends: bool) -> web.Application:
    async def answer(request: web.Request) -> web.StreamResponse:
        entered.set()
        response = web.StreamResponse()
        try:
            if sends:
                await response.prepare(request)
                while True:
                    await response.write(bytes(100_000))
            await asyncio.Event().wait()
        finally:
            left.set()
        return response

    app = web.Application()
    app.router.add_get("/", answer)
    return app


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("sends", [False, True], ids=["waiting", "sending to a client that reads nothing"])
def test_a_request_that_does_not_end_is_cancelled_by_a_stop(
    new_loop: Callable[[], asyncio.AbstractEventLoop], *, sends: bool
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(stops_though_a_request_does_not_end(sends=sends))


async def stops_though_a_request_does_not_end(*, sends: bool) -> None:
    entered, left = asyncio.Event(), asyncio.Event()
    server = HttpServer(serving_forever(entered, left, sends=sends), host="127.0.0.1", port=0, stop_seconds=0.2)
    await server.start()
    _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await entered.wait()
    try:
        async with asyncio.timeout(20):
            await server.stop()
        assert left.is_set()
    finally:
        writer.transport.abort()


async def test_a_request_that_ends_in_time_is_answered() -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        entered.set()
        await go_on.wait()
        return web.Response(text="whole")

    app = web.Application()
    app.router.add_get("/", answer)
    server = HttpServer(app, host="127.0.0.1", port=0)
    await server.start()
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(session.get(f"http://127.0.0.1:{server.port}/"))
        await entered.wait()
        stopping = tasks.create_task(server.stop())
        go_on.set()
        assert await (await asked).text() == "whole"
        await stopping
