"""Channel names that a URL has to encode: a takeover finds what was published on each of them, and on no other."""

import asyncio
import random

import pytest

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from devtools.lab import Lab, Script, laboratory
from devtools.produced import Produced
from support.waiting import eventually
from topics.producer import TokenProducer

pytestmark = pytest.mark.timeout(240)

CHANNELS = ("team room", "team+room", "team%20room", "a/b?c#d", "日本 👋")


async def stream(lab: Lab, until: asyncio.Event) -> None:
    async with TokenProducer(lab.bootstrap, topic=lab.names.tokens) as producer, asyncio.TaskGroup() as tasks:
        for number, channel in enumerate(CHANNELS):
            script = Script(0, 0.05, random.Random(number), parts=False, until=until)
            tasks.create_task(lab.write(producer, Produced(f"r{number}", channel), script))


async def test_kill_9_in_the_middle_of_responses_repeats_nothing_on_channels_with_spaces(
    kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    """Without the channel's own history the successor would publish again what is in no snapshot yet."""
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        owner = await lab.relay(SNAPSHOT_INTERVAL="30")
        until = asyncio.Event()
        streaming = asyncio.create_task(stream(lab, until))
        successor = await lab.relay(ready=False, SNAPSHOT_INTERVAL="30")
        await eventually(successor.has_started, deadline=60)
        await eventually(lambda: all(len(lab.realtime.log[channel]) > 10 for channel in CHANNELS), deadline=60)
        await owner.kill()
        await lab.progress(60)
        until.set()
        await streaming
        await lab.all_finished()
        verdict = lab.verdict()
        assert not verdict.wrong, verdict
        assert verdict.repeated_as_published == 0, (verdict, successor.tail(10))
