"""A batch of frames that was damaged on the broker's disk is named by a gateway, which stays ready, and can be given up."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from devtools.direct_lab import direct_lab
from devtools.kafka import LocalKafka
from devtools.process import PROGRAM
from devtools.raw_batches import batch, send_raw
from support.commands import run_command
from support.gateway_log import start, token
from support.token_log import flip_a_bit
from support.waiting import eventually

pytestmark = pytest.mark.timeout(600)

MakeKafka = Callable[..., Awaitable[LocalKafka]]


async def test_the_gateway_stays_ready_and_goes_on_behind_the_batch(
    bare_kafka: MakeKafka, topics_prefix: str, tmp_path: Path
) -> None:
    kafka = await bare_kafka()
    async with direct_lab(kafka.bootstrap, topics_prefix, tmp_path, partitions=2) as lab:
        topic, now = str(lab.names.frames), int(time.time() * 1000)
        for partition, value in ((0, start("r0")), (0, token(1, 0, "text-damaged", "r0")), (1, start("r1"))):
            await send_raw(lab.bootstrap, topic, partition, batch([(b"chat:1", value, ())], timestamp=now), 1)
        await kafka.stop(deadline=100)  # one that is killed truncates the log at the damaged batch when it starts
        flip_a_bit(kafka.data, topic, 0, b"text-damaged")
        await kafka.start()
        gateway = await lab.relay(role="gateway")
        named = f"frames_partitions: failing - {topic}-0 can't be read at offset 1"

        async def names_it() -> bool:
            return named in await gateway.text("/readyz")

        await eventually(names_it, deadline=60, every=0.2)
        assert await gateway.is_ready()
        code, output = await run_command(*PROGRAM, "skip", "0", "1", "--topic", topic, environment=lab.environment())
        assert (code, f"{topic}-0 begins at offset 2 now" in output) == (0, True), output

        async def reads_on() -> bool:
            return "frames_partitions: ok" in await gateway.text("/readyz") and await gateway.is_ready()

        await eventually(reads_on, deadline=60, every=0.2)
