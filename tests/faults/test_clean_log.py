"""A run in which nothing goes wrong writes no warning: what is logged at that level is worth a look."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from devtools.lab import Lab, laboratory
from devtools.process import TokenstreamProcess
from support.logs import is_of_the_load
from support.waiting import eventually

pytestmark = pytest.mark.timeout(240)


def warnings(process: TokenstreamProcess) -> list[str]:
    """Without what a loaded machine causes: stalls of the event loop, and checks that took too long to answer."""
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    return [line["event"] for line in lines if line["level"] not in ("debug", "info") and not is_of_the_load(line)]


async def stored(lab: Lab) -> bool:
    records = await lab.records()
    return all(records.get(each.response_id, {}).get("status") == "complete" for each in lab.produced)


@pytest.mark.parametrize("role", ["relay", "run"])
async def test_a_clean_run_logs_no_warning(
    bare_kafka: Callable[..., Awaitable[LocalKafka]], make_topics: MakeTopics, tmp_path: Path, role: str
) -> None:
    kafka = await bare_kafka()  # of its own, so that the topic of the groups is not there yet
    async with laboratory(kafka.bootstrap, await make_topics(bootstrap=kafka.bootstrap)) as lab:
        process = await lab.relay(role=role, KAFKA_SESSION_TIMEOUT="60", STORE_URL=f"sqlite:///{tmp_path}/store.db")
        await lab.stream(responses=8, tokens=20)
        await lab.all_finished()
        await eventually(lambda: stored(lab), deadline=60, every=0.3)
        assert await process.stop() == 0
        assert warnings(process) == []
