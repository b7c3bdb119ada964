"""A page to look at: that of the whole demo, started once, or a lean one fed with frames directly."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from devtools.demo.process import running_demo
from devtools.demo.web.server import Collaborators, DemoPage, Prompt
from devtools.emulator.server import DEFAULT_KEY, LocalRealtime, demo_token
from support.scenarios import Outcomes, run_scenarios

CHANNEL = "chat:lean"


@contextlib.asynccontextmanager
async def lean_page() -> AsyncIterator[str]:
    """The page on a local realtime server and an API that has nothing stored; frames come from the scenario."""

    async def nothing_stored(_: web.Request) -> web.Response:
        return web.json_response({"items": [], "next": None})

    async def say(_: Prompt) -> None:
        return None

    api = web.Application()
    api.router.add_get("/v1/channels/{channel}/hydrate", nothing_stored)
    runner = web.AppRunner(api, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with LocalRealtime(admin=True) as realtime:
            collaborators = Collaborators(
                realtime=realtime.endpoint,
                api=f"http://127.0.0.1:{runner.addresses[0][1]}",
                channel=CHANNEL,
                token=lambda: demo_token(DEFAULT_KEY, {"chat:*": ["subscribe", "history"]}, None, 600),
                cancel_token=lambda: "",
                say=say,
            )
            async with DemoPage(collaborators) as page:
                yield page.address
    finally:
        await runner.cleanup()


@pytest.fixture(scope="module")
def on_the_demo() -> Outcomes:
    """What became of each scenario on the whole deployment. What breaks things for everybody runs last, alone."""
    together = "streaming+folds+reload+late_join+two_windows+offline+hostile+keyboard+stop"
    scenarios = (together, "discontinuity", "faults")
    with running_demo() as address:
        return asyncio.run(run_scenarios("demo_scenarios.mjs", address, *scenarios, REALTIME_KEY=DEFAULT_KEY))


@pytest.fixture(scope="module")
def fed_directly() -> Outcomes:
    async def run() -> Outcomes:
        async with lean_page() as address:
            first = ("focus_moves_along", "hundred_at_once", "bounded_heap", "a_hole")
            then = ("quick_start", "stays_on_the_page", "one_is_wrong", "accessible")
            return await run_scenarios("frame_scenarios.mjs", address, *first, *then, REALTIME_KEY=DEFAULT_KEY)

    return asyncio.run(run())
