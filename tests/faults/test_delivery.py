"""Delivery under faults: real concurrent responses over real Kafka and the real SDK, checked by an independent reader.

0 out of order, 0 lost, 0 unfinished, 0 repeated for a reader, everywhere; 0 repeated as published wherever no owner
crashed or was cut off.
"""

import asyncio
import signal
import time

import pytest

from conftest import MakeTopics
from lab import Lab, laboratory
from processor.local.kafka import LocalKafka
from support import eventually

pytestmark = pytest.mark.timeout(120)

CONNECTION_FAULTS = {
    "sockets_cut": {"cut": {"publishes": 25}},
    "sockets_cut_before_acceptance": {"cut": {"publishes": 25, "at": "before"}},
    "disconnected_80003": {"disconnected": {"publishes": 25, "code": 80003}},
    "disconnected_503": {"disconnected": {"publishes": 25, "code": 50003, "status": 503}},
    "disconnected_without_error": {"disconnected": {"publishes": 25, "code": None}},
    "connection_error": {"error": {"publishes": 40, "code": 80000, "status": 400}},
    "refused_resumes": {"refuse_resume": {}, "cut": {"publishes": 25}},
    "lost_acks": {"drop_ack": {"every": 60}},
    "lost_publishes": {"drop_publish": {"every": 60}},
}


def assert_faultless(lab: Lab) -> None:
    verdict = lab.verdict()
    assert verdict.faultless_for_readers(), verdict
    assert verdict.repeated_as_published == 0, verdict


async def test_refused_publishes_are_sent_again_in_order(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        lab.realtime.faults.add({"nack": {"share": 0.3, "code": 42911, "seed": 1}})
        await lab.relay()
        await lab.stream(responses=20, tokens=50, channels=10, parts=True)
        await lab.all_finished()
        assert_faultless(lab)


async def test_the_real_limits_are_kept(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics(), limits=True) as lab:
        await lab.relay()
        await lab.stream(responses=24, tokens=60, channels=6, pause=0.005)
        await lab.all_finished()
        assert_faultless(lab)


@pytest.mark.parametrize("fault", CONNECTION_FAULTS.values(), ids=CONNECTION_FAULTS)
async def test_failing_connections_lose_and_repeat_nothing(
    kafka: LocalKafka, make_topics: MakeTopics, fault: dict[str, dict[str, object]]
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        await lab.relay(ABLY_CHANNEL_RATE="0", ABLY_CONNECTION_RATE="0", ABLY_MAX_CONNECTIONS="2")
        for kind, rule in fault.items():
            lab.realtime.faults.add({kind: rule})
        await lab.stream(responses=10, tokens=40, channels=5, parts=True)
        await eventually(lambda: lab.published() > 100, deadline=60)
        await asyncio.sleep(0.5)
        lab.realtime.faults.clear()
        await lab.all_finished()
        assert_faultless(lab)


async def test_a_slow_channel_delays_only_its_own_responses(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        lab.realtime.faults.add({"delay_ack": {"ms": 1500, "channel": "^chat:0$"}})
        await lab.relay(ABLY_CONNECTION_RATE="25")
        await lab.stream(responses=12, tokens=40, channels=6)
        await lab.all_finished()
        assert_faultless(lab)


async def test_kill_9_again_and_again_loses_nothing(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        owner = await lab.relay()
        streaming = asyncio.create_task(lab.stream(responses=20, tokens=250, channels=10, pause=0.04, parts=True))
        recoveries: list[float] = []
        for _ in range(4):
            before = lab.published()
            await eventually(lambda before=before: lab.published() >= before + 100, deadline=40)
            successor = await lab.relay(ready=False)
            await eventually(successor_joined(successor), deadline=20)
            await owner.kill()
            killed, at = time.monotonic(), lab.published()
            await eventually(lambda at=at: lab.published() > at + 5, deadline=20)
            recoveries.append(time.monotonic() - killed)
            owner = successor
        await streaming
        await lab.all_finished()
        verdict = lab.verdict()
        assert verdict.faultless_for_readers(), verdict
        assert max(recoveries) < 3 + 2 + 1, recoveries


def successor_joined(relay: object) -> object:
    async def joined() -> bool:
        return b"started" in relay.log.read_bytes()  # type: ignore[attr-defined]

    return joined


async def test_a_stopped_process_publishes_nothing_stale_when_it_wakes(
    kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        frozen = await lab.relay()
        streaming = asyncio.create_task(lab.stream(responses=16, tokens=250, channels=8, pause=0.04))
        await eventually(lambda: lab.published() > 60, deadline=30)
        frozen.signal(signal.SIGSTOP)
        await lab.relay()
        at = lab.published()
        await eventually(lambda: lab.published() > at + 60, deadline=30)
        frozen.signal(signal.SIGCONT)
        await streaming
        await lab.all_finished()
        verdict = lab.verdict()
        assert verdict.faultless_for_readers(), verdict


async def test_a_rolling_restart_of_three_relays_repeats_nothing(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        relays = [await lab.relay() for _ in range(3)]
        streaming = asyncio.create_task(lab.stream(responses=24, tokens=200, channels=12, pause=0.05))
        for relay in relays:
            at = lab.published()
            await eventually(lambda at=at: lab.published() > at + 60, deadline=30)
            assert await relay.stop() == 0, relay.tail()
            await lab.relay()
        await streaming
        await lab.all_finished()
        assert_faultless(lab)


async def test_sigterm_and_a_new_start_are_exact(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        relay = await lab.relay()
        streaming = asyncio.create_task(lab.stream(responses=20, tokens=120, channels=10, pause=0.03))
        await eventually(lambda: lab.published() > 80, deadline=30)
        asked = time.monotonic()
        assert await relay.stop() == 0
        assert time.monotonic() - asked < 10
        await lab.relay()
        await streaming
        await lab.all_finished()
        assert_faultless(lab)
        records = await eventually(lambda: finals(lab), deadline=10)
        for produced in lab.produced:
            assert {part["part"]: part["text"] for part in records[produced.response_id]["parts"]} == produced.texts


async def finals(lab: Lab) -> dict[str, dict[str, object]]:
    records = await lab.records()
    unfinished = [
        produced.response_id for produced in lab.produced if records[produced.response_id]["status"] != "complete"
    ]
    assert not unfinished
    return records
