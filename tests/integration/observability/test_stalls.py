"""A loop that stands still says where, and the process shows that it is not alive."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from conftest import MakeTopics
from lab import RelayProcess, laboratory
from processor.local.kafka import LocalKafka
from processor.local.realtime.server import DEFAULT_KEY
from support import eventually

pytestmark = pytest.mark.timeout(120)
PROGRAM = Path(__file__).parent / "blocked_loop.py"


def test_each_stall_is_logged_once_with_the_stacks_and_no_values() -> None:
    done = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [event["event"] for event in events] == ["event_loop_stalled", "event_loop_goes_on"] * 2
    for event in events[::2]:
        assert event["level"] == "error"
        assert "block_the_loop" in event["stacks"]
        assert "what a variable holds" not in event["stacks"].replace('secret_local = "what a variable holds"', "")
    assert all(event["seconds"] >= 1.0 for event in events[1::2])
    figures = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines() if line and not line.startswith("#"))
    assert figures["tokenstream_event_loop_stalls_total"] == "2.0"
    assert float(figures['tokenstream_event_loop_lag_seconds_bucket{le="+Inf"}']) >= 6
    late = float(figures["tokenstream_event_loop_lag_seconds_count"]) - float(
        figures['tokenstream_event_loop_lag_seconds_bucket{le="1.0"}']
    )
    assert late == 2


async def test_a_relay_stuck_inside_one_call_tells_where_and_answers_no_liveness_probe(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    """The call is one of the system's: a mounted secret whose file is there, and never answers."""
    key = tmp_path / "key"
    key.write_text(DEFAULT_KEY)
    async with laboratory(kafka.bootstrap, await make_topics(partitions=1)) as lab:
        environment = lab.environment(ABLY_KEY_FILE=str(key))
        del environment["TOKENSTREAM_ABLY_KEY"]
        relay = RelayProcess(environment)
        lab.relays.append(relay)
        await relay.start()
        await eventually(relay.is_ready, deadline=60)
        assert await relay.text("/healthz") == "ok\n"
        key.unlink()
        os.mkfifo(key)
        lab.realtime.faults.add(
            {"disconnected": {"publishes": 1, "code": 80003}}
        )  # the next connection asks for the key
        await lab.stream(responses=1, tokens=5, channels=1)

        def told() -> bool:
            said = relay.log.read_text()
            return "read_value" in said and "most recent call first" in said

        await eventually(told, deadline=30, every=0.2)
        assert await answers(relay.port) is False


async def answers(port: int) -> bool:
    """Whether `/healthz` does, as Kubernetes asks by default: within a second."""
    try:
        async with asyncio.timeout(1), aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/healthz"):
            return True
    except TimeoutError:
        return False
