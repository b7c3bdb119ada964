"""Delivery by REST batches keeps the same promises, under the same faults, as by a realtime connection."""

from typing import Any

import pytest

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from devtools.lab import laboratory
from devtools.process import TokenstreamProcess
from support.lab import assert_faultless, ended
from support.waiting import eventually

pytestmark = pytest.mark.timeout(240)

REST = {"ABLY_TRANSPORT": "rest", "ABLY_CHANNEL_RATE": "0", "ABLY_CONNECTION_RATE": "0"}
FAULTS: dict[str, dict[str, dict[str, object]]] = {
    "refused": {"nack": {"share": 0.3, "code": 42911, "seed": 1}},
    "lost_answers": {"drop_ack": {"every": 60}},
    "lost_requests": {"drop_publish": {"every": 60}},
    "cut_before_acceptance": {"cut": {"publishes": 25, "at": "before"}},
    "cut_after_acceptance": {"cut": {"publishes": 25}},
    "a_gateways_answers": {"odd_answer": {"share": 0.2, "status": 502}},
    "unreadable_answers_of_accepted_requests": {
        "odd_answer": {
            "share": 0.2,
            "status": 200,
            "body": '[{"results": null}]',
            "content_type": "application/json",
            "accepted": True,
        }
    },
    "slow_answers": {"delay_ack": {"ms": 300, "share": 0.3}},
}


IN_EVERY_RUN = ("lost_answers", "cut_before_acceptance")
"""The others run with `make test-all`."""


@pytest.mark.parametrize(
    "fault",
    [pytest.param(FAULTS[name], id=name, marks=[] if name in IN_EVERY_RUN else pytest.mark.long) for name in FAULTS],
)
async def test_faults_lose_and_repeat_nothing(
    kafka: LocalKafka, make_topics: MakeTopics, fault: dict[str, dict[str, object]]
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        await lab.relay(**settings())
        lab.realtime.faults.add(fault)
        await lab.stream(responses=10, tokens=40, channels=5, parts=True)
        await eventually(lambda: any(rule["struck"] for rule in lab.realtime.faults.listed()), deadline=60)
        lab.realtime.faults.clear()
        await lab.all_finished()
        assert_faultless(lab)


async def test_the_real_limits_are_kept_by_many_channels_in_one_request(
    kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    """Sixty channels at once are more than one connection may carry; each at its own rate, in few requests."""
    async with laboratory(kafka.bootstrap, await make_topics(), limits=True) as lab:
        relay = await lab.relay(**settings(ABLY_CHANNEL_RATE="25", ABLY_CONNECTION_RATE="45"))
        await lab.stream(responses=120, tokens=30, channels=60, pause=0.02)
        await lab.all_finished()
        assert_faultless(lab)
        assert await relay.metric("tokenstream_publish_failures_total") == 0


async def test_the_service_gone_for_a_while_loses_nothing(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        relay = await lab.relay(**settings())
        async with lab.streaming(responses=10, channels=5):
            await lab.progress(60)
            lab.realtime.faults.add({"down": {"seconds": 120}})
            await eventually(lambda: is_not_ready(relay), deadline=60)
            await eventually(lambda: relay.log.read_text().count("realtime_unreachable") >= 3, deadline=60)
            lab.realtime.faults.clear()
            await lab.progress(60)
        await lab.all_finished()
        assert_faultless(lab)
        await eventually(relay.is_ready, deadline=60)  # it answers from findings that may be a second old


@pytest.mark.long  # a row of the fault lab shows the same
async def test_kill_9_loses_nothing(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        owner = await lab.relay(**settings())
        async with lab.streaming(responses=12, channels=6, pause=0.05, parts=True):
            for _ in range(2):
                successor = await lab.relay(ready=False, **settings())
                await lab.progress(60)
                await eventually(successor.has_started, deadline=60)
                await owner.kill()
                await lab.progress(60)
                owner = successor
        await lab.all_finished()
        verdict = lab.verdict()
        assert not verdict.wrong, verdict


async def test_a_refused_channel_fails_its_responses_and_no_others(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        lab.realtime.faults.add({"nack": {"code": 40160, "channel": "^chat:0$", "skip": 3}})
        await lab.relay(**settings())
        await lab.stream(responses=12, tokens=40, channels=6)
        refused = {produced.response_id for produced in lab.produced if produced.channel == "chat:0"}
        lab.produced = [produced for produced in lab.produced if produced.response_id not in refused]
        await lab.all_finished()
        verdict = lab.verdict()
        assert not verdict.wrong, verdict
        records = await eventually(lambda: ended(lab, refused), deadline=60)
        assert {records[response_id]["reason"] for response_id in refused} == {"unpublishable"}


def settings(**changes: str) -> dict[str, Any]:
    return {**REST, **changes}


async def is_not_ready(relay: TokenstreamProcess) -> bool:
    return not await relay.is_ready()
