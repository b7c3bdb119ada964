"""Cancels over real processes: the api, relays and producers, some of which are killed in between."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from conftest import MakeTopics
from devtools.children import tied
from devtools.kafka import LocalKafka
from devtools.lab import Lab, laboratory
from devtools.process import TokenstreamProcess
from support.lab import ROOT, ended
from support.waiting import eventually
from topics.producer import TokenProducer

pytestmark = pytest.mark.timeout(240)

CANCEL_TIMEOUT = 3.0
TOKENS = "own=chat:*,other=else:*,eyes=read:*"
IGNORANT = """
import asyncio, sys
from topics import TokenProducer

async def main(bootstrap, topic, response_id):
    async with TokenProducer(bootstrap, topic, controls_topic=None) as producer:
        async with producer.response("chat:1", response_id=response_id) as response:
            for number in range(100_000):
                await response.token(f"{number} ")
                if not number:
                    print("started", flush=True)
                await asyncio.sleep(0.05)

asyncio.run(main(*sys.argv[1:]))
"""


@asynccontextmanager
async def laboratory_with_api(
    kafka: LocalKafka, make_topics: MakeTopics, directory: Path
) -> AsyncIterator[tuple[Lab, TokenstreamProcess, TokenstreamProcess]]:
    """(lab, relay, api), both ready."""
    async with laboratory(kafka.bootstrap, await make_topics(partitions=2)) as lab:
        api = await lab.relay(ready=False, role="api", STORE_URL=f"sqlite:///{directory}/s.db", API_TOKENS=TOKENS)
        relay = await lab.relay(CANCEL_TIMEOUT=str(CANCEL_TIMEOUT))
        await api.ready()
        yield lab, relay, api


async def cancel(api: TokenstreamProcess, response_id: str, token: str = "own") -> int:
    url = f"{api.url}/v1/responses/{response_id}/cancel"
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json={"channel": "chat:1"}, headers=headers) as answer,
    ):
        return answer.status


async def cancel_and_kill(api: TokenstreamProcess, response_id: str) -> None:
    assert await cancel(api, response_id) == 202
    await api.kill()


@asynccontextmanager
async def ignorant_producer(lab: Lab, response_id: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that writes tokens and reads no controls."""
    process = await asyncio.create_subprocess_exec(
        *tied(),
        *(sys.executable, "-c", IGNORANT, lab.bootstrap, lab.names.tokens, response_id),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(90):
            assert await process.stdout.readline() == b"started\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def frames(lab: Lab, response_id: str, name: str) -> list[Any]:
    """Of a response, as published."""
    return [
        message
        for messages in lab.realtime.log.values()
        for message in messages
        if message.name == name and message.extras["headers"]["responseId"] == response_id
    ]


async def forced_end(lab: Lab, response_id: str) -> dict[str, Any]:
    """The record of a response that the relay ends as cancelled; it is shown whole, and ended once."""
    records = await eventually(lambda: ended(lab, {response_id}), deadline=90, every=0.5)
    record: dict[str, Any] = records[response_id]
    assert (record["status"], record["reason"], record["error"]) == ("cancelled", "cancelled", None)
    (stop,) = {json.dumps(each.data, sort_keys=True): each for each in frames(lab, response_id, "stop")}.values()
    data = json.loads(stop.data) if isinstance(stop.data, str) else stop.data
    assert (data["reason"], data["error"]) == ("cancelled", None)
    assert data["parts"][0]["length"] == len(record["parts"][0]["text"])
    return record


async def test_the_stop_reaches_the_producer_though_the_api_dies(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    async with laboratory_with_api(kafka, make_topics, tmp_path) as (lab, relay, api):
        names = lab.names
        async with TokenProducer(kafka.bootstrap, names.tokens, controls_topic=names.controls) as producer:
            async with producer.response("chat:1", response_id="r-own") as response:
                await response.token("Hel")
                for token, status in (("other", 403), ("eyes", 403), ("nobody", 401)):
                    assert await cancel(api, "r-own", token) == status
                await response.token("lo")
                await eventually(lambda: frames(lab, "r-own", "token"), deadline=60)
                assert not response.cancelled
                asked = asyncio.create_task(cancel_and_kill(api, "r-own"))  # the block itself is left at once
                async with asyncio.timeout(60):
                    await asyncio.Event().wait()
            assert response.cancelled
            await asked
        records = await eventually(lambda: ended(lab, {"r-own"}), deadline=60, every=0.5)
        assert (records["r-own"]["reason"], records["r-own"]["tokens"]) == ("cancelled", 2)
        await eventually(lambda: counted(relay, "honoured"), deadline=30)
        (written,) = [record async for record in lab.read(names.controls)]  # the refused ones wrote none
        fields = json.loads(written.value)
        assert abs(fields.pop("ts") - written.timestamp) < 5_000
        assert (written.key, fields) == (
            b"r-own",
            {"v": 1, "event": "cancel", "responseId": "r-own", "channel": "chat:1", "reason": None},
        )


async def counted(relay: TokenstreamProcess, outcome: str) -> bool:
    text = await relay.text("/metrics")
    lines = [line for line in text.splitlines() if line.startswith(f'tokenstream_cancels_total{{outcome="{outcome}"}}')]
    return [float(line.rsplit(" ", 1)[1]) for line in lines] == [1.0]


async def test_a_producer_that_reads_no_controls_is_closed_and_its_later_tokens_are_dead_letters(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    async with laboratory_with_api(kafka, make_topics, tmp_path) as (lab, relay, api):
        async with ignorant_producer(lab, "r-deaf"):
            await eventually(lambda: frames(lab, "r-deaf", "token"), deadline=60)
            assert await cancel(api, "r-deaf") == 202
            assert await cancel(api, "r-deaf") == 202
            record = await forced_end(lab, "r-deaf")
            await eventually(lambda: lab.dead_letters("r-deaf"), deadline=60, every=0.5)
        await eventually(lambda: counted(relay, "forced"), deadline=30)  # counts are published a few times a second
        assert await reasons(lab, "r-deaf") == {"late"}
        late = {letter["seq"] for letter in await lab.dead_letters("r-deaf")}
        assert late == set(range(record["seq"], record["seq"] + len(late))), "the stop's number is no token's"


async def reasons(lab: Lab, response_id: str) -> set[str]:
    """Of the dead letters of a response."""
    letters = [
        each async for each in lab.read(lab.names.dead_letters) if json.loads(each.value)["responseId"] == response_id
    ]
    return {dict(letter.headers)["tokenstream-reason"].decode() for letter in letters}


@pytest.mark.parametrize("after", [0.0, CANCEL_TIMEOUT])
async def test_a_relay_that_dies_leaves_the_cancel_to_its_successor(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path, after: float
) -> None:
    async with (
        laboratory_with_api(kafka, make_topics, tmp_path) as (lab, relay, api),
        ignorant_producer(lab, "r-deaf"),
    ):
        await eventually(lambda: frames(lab, "r-deaf", "token"), deadline=60)
        assert await cancel(api, "r-deaf") == 202
        await asyncio.sleep(after)  # the moment at which the relay dies
        await relay.kill()
        await lab.relay(CANCEL_TIMEOUT=str(CANCEL_TIMEOUT))
        await forced_end(lab, "r-deaf")


async def test_a_producer_that_dies_before_its_stop_leaves_the_end_to_the_relay(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    async with laboratory_with_api(kafka, make_topics, tmp_path) as (lab, _, api):
        async with ignorant_producer(lab, "r-dead") as producer:
            await eventually(lambda: frames(lab, "r-dead", "token"), deadline=60)
            assert await cancel(api, "r-dead") == 202
            producer.send_signal(signal.SIGKILL)
            await forced_end(lab, "r-dead")
        assert await lab.dead_letters("r-dead") == []
