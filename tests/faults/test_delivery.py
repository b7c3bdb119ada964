"""Delivery under faults: real concurrent responses over real Kafka and the real SDK, checked by an independent reader.

0 out of order, 0 lost, 0 unfinished, 0 repeated for a reader, everywhere; 0 repeated as published wherever no owner
crashed or was cut off.
"""

import asyncio
import json
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeKafka, MakeTopics
from devtools.emulator.server import DEFAULT_KEY
from devtools.kafka import LocalKafka
from devtools.lab import Lab, laboratory
from devtools.process import TokenstreamProcess
from support.lab import assert_faultless, ended
from support.logs import is_of_the_load
from support.waiting import eventually, slowness

pytestmark = pytest.mark.timeout(240)

repeats_a_row = pytest.mark.long
"""A row of the fault lab shows the same, with more tokens: `make test-all` runs the test, `make faults` the row."""

SESSION_TIMEOUT = 3.0
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


@repeats_a_row
async def test_refused_publishes_are_sent_again_in_order(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        lab.realtime.faults.add({"nack": {"share": 0.3, "code": 42911, "seed": 1}})
        await lab.relay()
        await lab.stream(responses=20, tokens=50, channels=10, parts=True)
        await lab.all_finished()
        assert_faultless(lab)


@repeats_a_row
async def test_the_real_limits_are_kept(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics(), limits=True) as lab:
        await lab.relay()
        await lab.stream(responses=24, tokens=60, channels=6, pause=0.005)
        await lab.all_finished()
        assert_faultless(lab)


IN_EVERY_RUN = ("sockets_cut", "lost_acks")
"""The others repeat a row of the fault lab."""


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, id=name, marks=[] if name in IN_EVERY_RUN else repeats_a_row)
        for name, fault in CONNECTION_FAULTS.items()
    ],
)
async def test_failing_connections_lose_and_repeat_nothing(
    kafka: LocalKafka, make_topics: MakeTopics, fault: dict[str, dict[str, object]]
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        relay = await lab.relay(ABLY_CHANNEL_RATE="0", ABLY_CONNECTION_RATE="0", ABLY_MAX_CONNECTIONS="2")
        for kind, rule in fault.items():
            lab.realtime.faults.add({kind: rule})
        await lab.stream(responses=10, tokens=40, channels=5, parts=True)
        await eventually(lambda: lab.published() > 100, deadline=60)
        await eventually(lambda: any(rule["struck"] for rule in lab.realtime.faults.listed()), deadline=60)
        lab.realtime.faults.clear()
        await lab.all_finished()
        assert_faultless(lab)
        assert await relay.stop() == 0
        assert "\n".join(alarming(relay)) == ""


def alarming(relay: TokenstreamProcess) -> list[str]:
    """The lines of its log at or above a warning, and those that are not events.

    Without those of Kafka, of cut connections and of a loaded machine.
    """
    return [line for line in relay.log.read_text(errors="replace").splitlines() if not is_calm(line)]


def is_calm(line: str) -> bool:
    try:
        event = json.loads(line)
        of_kafka = event["logger"].startswith(("aiokafka", "processor.relay"))
        of_the_fault = event["event"] == "dependency_failing" and event["dependency"] == "realtime"
        return event["level"] in ("debug", "info") or of_kafka or of_the_fault or is_of_the_load(event)
    except (ValueError, LookupError, TypeError):
        return False


@repeats_a_row
async def test_a_slow_channel_delays_only_its_own_responses(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        lab.realtime.faults.add({"delay_ack": {"ms": 1500, "channel": "^chat:0$"}})
        await lab.relay(ABLY_CONNECTION_RATE="25")
        await lab.stream(responses=12, tokens=40, channels=6)
        await lab.all_finished()
        assert_faultless(lab)


@repeats_a_row
async def test_kill_9_again_and_again_loses_nothing(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        owner = await lab.relay()
        recoveries: list[float] = []
        async with lab.streaming(responses=20, channels=10, pause=0.05, parts=True):
            for _ in range(3):
                successor = await lab.relay(ready=False)
                await lab.progress(100)
                await eventually(successor.has_started, deadline=60)
                await owner.kill()
                killed = time.monotonic()
                await lab.progress(100)
                recoveries.append(await longest_silence(lab, killed))
                owner = successor
        await lab.all_finished()
        verdict = lab.verdict()
        assert not verdict.wrong, verdict
        # Sought: the session timeout and two seconds. A busy machine takes longer to start what it needs, so what fails
        # the test is only a takeover that does not come by itself.
        print("recovered after", [f"{seconds:.1f} s" for seconds in recoveries], "session timeout", SESSION_TIMEOUT)
        assert max(recoveries) < (SESSION_TIMEOUT + 15) * slowness(), recoveries


async def longest_silence(lab: Lab, since: float) -> float:
    """Seconds from `since` (monotonic) until every channel had a frame again."""
    offset = time.time() - time.monotonic()

    def first_after(channel: str) -> float:
        stamps = [(message.timestamp or 0) / 1000 - offset for message in lab.realtime.log[channel]]
        return min((stamp for stamp in stamps if stamp > since + 0.05), default=0.0)

    channels = list(lab.realtime.log)
    await eventually(lambda: all(first_after(channel) for channel in channels), deadline=60)
    return max(first_after(channel) for channel in channels) - since


@repeats_a_row
async def test_a_stopped_process_publishes_nothing_stale_when_it_wakes(
    kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        frozen = await lab.relay()
        async with lab.streaming(responses=16, channels=8, pause=0.05):
            await lab.progress(60)
            frozen.signal(signal.SIGSTOP)
            await lab.relay()
            await lab.progress(60)
            frozen.signal(signal.SIGCONT)
            await lab.progress(100)
        await lab.all_finished()
        verdict = lab.verdict()
        assert not verdict.wrong, verdict


@repeats_a_row
async def test_a_rolling_restart_of_three_relays_repeats_nothing(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        relays = await asyncio.gather(*(lab.relay() for _ in range(3)))
        async with lab.streaming(responses=24, channels=12, pause=0.05):
            for relay in relays:
                await lab.progress(60)
                assert await relay.stop() == 0, relay.tail()
                await lab.relay()
            await lab.progress(60)
        await lab.all_finished()
        assert_faultless(lab)


@repeats_a_row
async def test_sigterm_and_a_new_start_are_exact(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        relay = await lab.relay()
        async with lab.streaming(responses=20, channels=10, pause=0.03):
            await lab.progress(80)
            assert await relay.stop() == 0
            await lab.relay()
            await lab.progress(80)
        await lab.all_finished()
        assert_faultless(lab)
        records = await eventually(lambda: finals(lab), deadline=60)
        for produced in lab.produced:
            assert texts_of(records[produced.response_id]) == produced.texts


@repeats_a_row
async def test_a_broker_killed_and_restarted_loses_nothing(bare_kafka: MakeKafka, make_topics: MakeTopics) -> None:
    kafka = await bare_kafka()
    async with laboratory(kafka.bootstrap, await make_topics(bootstrap=kafka.bootstrap)) as lab:
        await lab.relay()
        async with lab.streaming(responses=12, channels=6, pause=0.05):
            await lab.progress(60)
            kafka.kill()
            await kafka.start()
            await lab.progress(60, deadline=120)
        await lab.all_finished()
        assert_faultless(lab)


async def test_a_refused_channel_fails_its_responses_and_no_others(kafka: LocalKafka, make_topics: MakeTopics) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        lab.realtime.faults.add({"nack": {"code": 40160, "channel": "^chat:0$", "skip": 3}})
        await lab.relay()
        await lab.stream(responses=12, tokens=40, channels=6)
        refused = {produced.response_id for produced in lab.produced if produced.channel == "chat:0"}
        lab.produced = [produced for produced in lab.produced if produced.response_id not in refused]
        await lab.all_finished()
        verdict = lab.verdict()
        assert not verdict.wrong, verdict
        records = await eventually(lambda: ended(lab, refused), deadline=60)
        for response_id in refused:
            assert records[response_id]["status"] == "failed"
            assert records[response_id]["reason"] == "unpublishable"
            seqs = await eventually(partial(kept_to_the_end, lab, response_id), deadline=60, every=0.2)
            assert seqs == list(range(seqs[0], 42)), "kept together and in order"
            assert seqs[0] <= records[response_id]["seq"] + 1


async def kept_to_the_end(lab: Lab, response_id: str) -> list[int]:
    """The numbers in a response's dead letters, once its last is there: Kafka shows a transaction topic by topic."""
    seqs = [letter["seq"] for letter in await lab.dead_letters(response_id)]
    assert seqs[-1:] == [41]
    return seqs


async def test_a_refused_key_drops_nothing_and_a_new_one_is_taken_up(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("local.key:wrong")
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        relay = await lab.relay(ready=False, ABLY_KEY_FILE=str(key))
        await lab.stream(responses=4, tokens=10, channels=2)
        await eventually(lambda: says(relay, "refuses the key"), deadline=60)
        assert not await relay.is_ready()
        key.write_text(DEFAULT_KEY)
        await lab.all_finished()
        assert await eventually(relay.is_ready, deadline=60)  # findings may be a second old
        assert_faultless(lab)


async def says(relay: TokenstreamProcess, words: str) -> bool:
    return words in await relay.text("/readyz")


def texts_of(record: dict[str, Any]) -> dict[str, str]:
    return {part["part"]: part["text"] for part in record["parts"]}


async def finals(lab: Lab) -> dict[str, Any]:
    return await ended(lab, {produced.response_id for produced in lab.produced})
