"""A process that is stopped and continued, as by a suspended machine, a debugger or a starved node."""

import asyncio
import signal
import time

import pytest

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from devtools.lab import laboratory
from devtools.process import TokenstreamProcess

pytestmark = pytest.mark.timeout(400)


async def pause(relay: TokenstreamProcess, stopped: float, running: float) -> None:
    relay.signal(signal.SIGSTOP)
    await asyncio.sleep(stopped)
    relay.signal(signal.SIGCONT)
    await asyncio.sleep(running)


@pytest.mark.long
async def test_repeated_pauses_end_in_a_few_connects_and_a_relay_that_publishes(
    kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        relay = await lab.relay(KAFKA_SESSION_TIMEOUT="10")
        async with lab.streaming(responses=8, channels=4, pause=0.2):
            await lab.progress(60)
            before = lab.realtime.connects
            for _ in range(5):
                await pause(relay, 20, 3.6)
            resumed = time.monotonic()
            await lab.progress(100, deadline=60)
            print(
                f"published again after {time.monotonic() - resumed:.1f} s, {lab.realtime.connects - before} connects"
            )
            await lab.progress(100, deadline=60)
            assert lab.realtime.connects - before <= 30, "two connections, five pauses: a storm makes hundreds a second"
        await lab.all_finished()
        assert (await relay.text("/healthz")) == "ok\n"
