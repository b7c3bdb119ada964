"""Readers who join in the middle: what is stored and what is live meet without a gap, every time."""

import asyncio
import random
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from conftest import MakeTopics
from devtools.emulator.server import DEFAULT_KEY
from devtools.kafka import LocalKafka
from devtools.lab import Lab, laboratory
from devtools.process import TokenstreamProcess
from processor.ably.ably import AblyOptions
from processor.ably.subscription import Subscription, SubscriptionUnavailable
from processor.reader.frames import Message
from processor.reader.reader import Reader, ReaderLimits

CHANNELS = 4
ATTEMPTS = 3


async def join(lab: Lab, service: TokenstreamProcess, channel: str, after: float, ended: asyncio.Event) -> Reader:
    """As a reader does, tries again if it can't subscribe: all of them share a busy process here."""
    await asyncio.sleep(after)
    for _ in range(ATTEMPTS - 1):
        with suppress(SubscriptionUnavailable):
            return await read_along(lab, service, channel, ended)
    return await read_along(lab, service, channel, ended)


async def read_along(lab: Lab, service: TokenstreamProcess, channel: str, ended: asyncio.Event) -> Reader:
    """Subscribe, hold back, load `hydrate`, go on live; where something is missing, load the response again."""
    options = AblyOptions(key=lambda: DEFAULT_KEY, client_id="reader", endpoint=lab.realtime.endpoint, tls=False)
    reader = Reader("tokenstream", ReaderLimits(finished=1_000))
    base = f"http://127.0.0.1:{service.port}/v1"
    async with Subscription(options, channel) as live, aiohttp.ClientSession() as http:
        async with http.get(f"{base}/channels/{channel.replace(':', '%3A')}/hydrate?limit=50") as answer:
            for record in (await answer.json())["items"]:
                reader.hydrate(record)
        while not (ended.is_set() and all_read(lab, reader, channel)):
            message = await live.next(0.5)
            if isinstance(message, Message):
                reader.feed(message)
            if reader.needs() or message is None:
                wanted = set(reader.needs()) | (unread(lab, reader, channel) if ended.is_set() else set())
                for response_id in wanted:
                    async with http.get(f"{base}/responses/{response_id}") as answer:
                        if answer.status == 200:
                            reader.hydrate(await answer.json())
    return reader


def unread(lab: Lab, reader: Reader, channel: str) -> set[str]:
    wanted = {produced.response_id for produced in lab.produced if produced.channel == channel}
    return {one for one in wanted if one not in reader.responses or not reader.responses[one].finished}


def all_read(lab: Lab, reader: Reader, channel: str) -> bool:
    return not unread(lab, reader, channel)


async def everyone_reads_everything(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path, *, readers: int, seconds: float, pause: float = 0.05
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        service = await lab.relay(role="run", STORE_URL=f"sqlite:///{tmp_path}/store.db", API_PUBLIC="true")
        ended, chance = asyncio.Event(), random.Random(7)
        joining = [
            asyncio.create_task(join(lab, service, f"chat:{number % CHANNELS}", chance.uniform(0, seconds), ended))
            for number in range(readers)
        ]
        async with lab.streaming(responses=16, channels=CHANNELS, pause=pause, parts=True):
            await asyncio.sleep(seconds)
        await lab.all_finished()
        ended.set()
        async with asyncio.timeout(90):
            joined = await asyncio.gather(*joining)
        for number, reader in enumerate(joined):
            for produced in lab.produced:
                if produced.channel == f"chat:{number % CHANNELS}":
                    response = reader.responses[produced.response_id]
                    assert {name: part.text for name, part in response.parts.items()} == produced.texts
        assert all(reader.counts.mismatches == 0 for reader in joined)


@pytest.mark.timeout(200)
async def test_50_readers_who_join_at_a_random_moment_read_everything(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    await everyone_reads_everything(kafka, make_topics, tmp_path, readers=50, seconds=10, pause=0.1)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_500_readers_who_join_at_a_random_moment_read_everything(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    await everyone_reads_everything(kafka, make_topics, tmp_path, readers=500, seconds=40)
