"""Runs scripts of browser scenarios."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

BROWSER = Path(__file__).parents[1] / "browser"
DEADLINE = 200.0
Outcomes = dict[str, dict[str, Any]]
"""By scenario: the seconds it took, what it measured, and the error if it failed."""


async def run_scenarios(script: str, *arguments: str, deadline: float = DEADLINE, **environment: str) -> Outcomes:
    """Run scenarios in Chromium: the groups one after the other, the names in a group (`a+b`) at once."""
    process = await asyncio.create_subprocess_exec(
        "node",
        str(BROWSER / script),
        *arguments,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=2**20,
    )
    try:
        async with asyncio.timeout(deadline):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, printed.decode()
    outcomes = [json.loads(line) for line in printed.decode().splitlines() if line.startswith("{")]
    return {outcome["name"]: outcome for outcome in outcomes}


def named(promises: dict[str, str]) -> list[Any]:
    """Returns a test's parameters: names of scenarios, shown as what they promise."""
    return [pytest.param(name, id=promise) for name, promise in promises.items()]
