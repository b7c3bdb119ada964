"""The real ably-js, in Node, against the local realtime server: each scenario of tests/js/realtime.mjs, in both formats."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from devtools.emulator.server import DEFAULT_KEY, LocalRealtime, demo_token

SCRIPT = Path(__file__).parents[2] / "js" / "realtime.mjs"
SCENARIOS = re.findall(r"^  async (\w+)\(\) \{", SCRIPT.read_text(), re.MULTILINE)


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_ably_js(server: LocalRealtime, scenario: str, encoding: str) -> None:
    token = demo_token(DEFAULT_KEY, {"allowed:*": ["subscribe", "history"]}, "browser", 600.0)
    node = await asyncio.create_subprocess_exec(
        "node", str(SCRIPT), str(server.port), encoding, scenario,
        env={"PATH": os.environ["PATH"], "REALTIME_KEY": DEFAULT_KEY, "REALTIME_TOKEN": token},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await node.communicate()
    assert node.returncode == 0, said.decode()


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 12
