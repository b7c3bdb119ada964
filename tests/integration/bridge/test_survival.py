"""Streams of a bridge while the relay is killed: readers lose nothing and see nothing twice."""

import asyncio
from random import Random

import pytest

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from devtools.lab import Lab, laboratory
from devtools.produced import Produced
from support.bridge_world import World, bridge_world
from support.waiting import eventually


async def survive(
    kafka: LocalKafka, make_topics: MakeTopics, *, streams: int, tokens: int, pace: float, relays: int, kills: int
) -> None:
    async with (
        laboratory(kafka.bootstrap, await make_topics()) as lab,
        bridge_world(kafka, lab.names.tokens) as world,
    ):
        world.model.pace = pace
        killable = [await lab.relay() for _ in range(relays)]
        asking = [asyncio.create_task(ask(world, lab, number, tokens)) for number in range(streams)]
        for kill in range(kills):
            await lab.progress(streams)
            await killable[kill % relays].kill()
            await killable[kill % relays].start()
        for answered in asyncio.as_completed(asking):
            await answered
        assert {asked.finished for asked in world.model.asked} == {True}
        await lab.all_finished(deadline=120)
        assert_readers_have_all(lab)
        await eventually(lambda: world.metric("bridge_streams") == 0, deadline=30)
        assert world.metric("bridge_requests_total", status="200") == streams


async def ask(world: World, lab: Lab, number: int, tokens: int) -> None:
    chance = Random(number)
    words = [f"{chance.choice(('one', 'né', '日本', '😀'))}{index}" for index in range(tokens)]
    produced = Produced(f"b-{number}", f"chat:{number % 20}", {"text": "".join(f"{word} " for word in words)}, tokens)
    lab.produced.append(produced)
    headers = {"x-tokenstream-response-id": produced.response_id, "x-tokenstream-channel": produced.channel}
    async with world.ask(text=" ".join(words), stream=True, headers=headers) as answer:
        assert answer.status == 200
        assert b"[DONE]" in await answer.read()


def assert_readers_have_all(lab: Lab) -> None:
    verdict = lab.verdict()
    print(verdict)
    assert not verdict.wrong, verdict
    assert verdict.tokens == sum(produced.tokens for produced in lab.produced)


@pytest.mark.timeout(240)
async def test_streams_outlive_a_killed_relay(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    await survive(kafka, make_topics, streams=12, tokens=40, pace=0.05, relays=1, kills=1)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_two_hundred_streams_outlive_a_killed_relay(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    await survive(kafka, make_topics, streams=200, tokens=150, pace=0.2, relays=2, kills=3)
