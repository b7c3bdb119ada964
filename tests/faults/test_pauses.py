"""A process that is stopped and continued, as by a suspended machine, a debugger or a starved node."""

import asyncio
import signal
import time

import aiohttp
import pytest

from conftest import MakeTopics
from lab import Lab, RelayProcess, laboratory
from processor.local.kafka import LocalKafka

pytestmark = pytest.mark.timeout(400)


async def connects(lab: Lab) -> int:
    """Websockets that the realtime server has taken so far."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{lab.realtime.endpoint}/admin/stats") as answer,
    ):
        found: int = (await answer.json())["connects"]
        return found


async def pause(relay: RelayProcess, stopped: float, running: float) -> None:
    relay.signal(signal.SIGSTOP)
    await asyncio.sleep(stopped)
    relay.signal(signal.SIGCONT)
    await asyncio.sleep(running)


async def test_repeated_pauses_end_in_a_few_connects_and_a_relay_that_publishes(
    kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        relay = await lab.relay(KAFKA_SESSION_TIMEOUT="10")
        async with lab.streaming(responses=8, channels=4, pause=0.2):
            await lab.progress(60)
            before = await connects(lab)
            for _ in range(5):
                await pause(relay, 20, 3.6)
                print("connects", await connects(lab), "published", lab.published())
            began = time.monotonic()
            await lab.progress(100, deadline=60)
            print("progress after", time.monotonic() - began)
            await asyncio.sleep(5)
            print("connects", await connects(lab), "published", lab.published())
            assert await connects(lab) - before <= 20
        await lab.all_finished()
        assert (await relay.text("/healthz")) == "ok\n"
