"""A batch whose bytes were damaged on the broker's disk stops its own partition alone, and there is a way past it."""

import re
import time
from collections.abc import Awaitable, Callable

import pytest
from aiokafka import AIOKafkaProducer

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from devtools.lab import Lab, laboratory
from devtools.process import PROGRAM, TokenstreamProcess
from devtools.raw_batches import Entry, batch, send_raw
from support.commands import run_command
from support.token_log import flip_a_bit
from support.waiting import eventually
from topics.specs import TopicNames

pytestmark = pytest.mark.timeout(600)

MakeKafka = Callable[..., Awaitable[LocalKafka]]


def whole(response_id: str, text: str) -> list[Entry]:
    def event(rest: str) -> Entry:
        return b"k", ('{"responseId":"' + response_id + '",' + rest + "}").encode(), ()

    return [
        event('"event":"start","seq":0,"channel":"chat:odd"'),
        event('"event":"token","seq":1,"text":"' + text + '"'),
        event('"event":"stop","seq":2'),
    ]


async def command(lab: Lab, *arguments: str) -> tuple[int, str]:
    code, output = await run_command(*PROGRAM, *arguments, environment=lab.environment())
    return code or 0, output


async def write(lab: Lab) -> None:
    now = int(time.time() * 1000)  # else the broker's retention deletes them while a busy machine runs the test
    for response_id in ("before", "damaged", "after"):
        raw = batch(whole(response_id, f"text-{response_id}"), timestamp=now)
        await send_raw(lab.bootstrap, lab.names.tokens, 0, raw, 3)


async def names_it(relay: TokenstreamProcess, names: TopicNames) -> bool:
    return f"{names.tokens}-0 can't be read at offset 3" in await relay.text("/readyz")


async def statuses(lab: Lab) -> dict[str, str]:
    return {name: record["status"] for name, record in (await lab.records()).items()}


async def test_other_partitions_go_on_and_the_batch_can_be_given_up(
    bare_kafka: MakeKafka, make_topics: MakeTopics
) -> None:
    kafka = await bare_kafka()
    names = await make_topics(partitions=2, bootstrap=kafka.bootstrap)
    async with laboratory(kafka.bootstrap, names) as lab:
        await write(lab)
        await kafka.stop(deadline=100)  # one that is killed truncates the log at the damaged batch when it starts
        flip_a_bit(kafka.data, names.tokens, 0, b"text-damaged")
        await kafka.start()
        relay = await lab.relay(ready=False, KAFKA_SESSION_TIMEOUT="60")  # each owner reports the batch once
        await eventually(lambda: names_it(relay, names), deadline=90, every=0.2)
        await eventually(lambda: statuses_are(lab, {"before": "complete"}), deadline=60, every=0.3)

        await other_partition_is_served(lab)
        await eventually(lambda: refused(lab), deadline=60, every=1.0)
        output = await eventually(lambda: skipped(lab), deadline=90, every=1.0)
        assert "begins at offset 6 now" in output
        await eventually(lambda: finished(lab, "after"), deadline=60, every=0.3)
        await relay.ready()
        log = relay.log.read_text()
        assert len(re.findall('"batch_unreadable"', log)) == 1
        assert "Traceback" not in log


async def other_partition_is_served(lab: Lab) -> None:
    async with AIOKafkaProducer(bootstrap_servers=lab.bootstrap) as producer:
        for key, value, _ in whole("other", "text"):
            await producer.send_and_wait(lab.names.tokens, value, key=key, partition=1)
    await eventually(lambda: finished(lab, "other"), deadline=60, every=0.3)


async def refused(lab: Lab) -> bool:
    """What can be read is not given up."""
    code, output = await command(lab, "skip", "0", "0")
    assert code == 1, output
    assert "can be read at offset 0: nothing was deleted" in output, output
    return True


async def skipped(lab: Lab) -> str:
    """Waits until the relay has committed the records before the batch."""
    code, output = await command(lab, "skip", "0", "3")
    assert code == 0, output
    return output


async def finished(lab: Lab, response_id: str) -> bool:
    return (await statuses(lab)).get(response_id) == "complete"


async def statuses_are(lab: Lab, wanted: dict[str, str]) -> bool:
    assert await statuses(lab) == wanted
    return True
