"""Runs the command line as people do: a process of its own, with settings in its environment."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from topics.specs import TopicNames

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> list[dict[str, Any]]:
        assert self.code == 0, self
        return [json.loads(line) for line in self.out.splitlines()]


def kafka_settings(bootstrap: str, names: TopicNames) -> dict[str, str]:
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "TOKENS_TOPIC": names.tokens,
        "RESPONSES_TOPIC": names.responses,
        "DEAD_LETTERS_TOPIC": names.dead_letters,
        "CONTROLS_TOPIC": names.controls,
    }
    return {f"TOKENSTREAM_{name}": value for name, value in settings.items()}


async def start(*arguments: str, environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    base = {name: value for name, value in os.environ.items() if not name.startswith("TOKENSTREAM_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "processor",
        *arguments,
        cwd=ROOT,
        env={**base, **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def tokenstream(*arguments: str, environment: Mapping[str, str], given: str = "", deadline: float = 40.0) -> Done:
    process = await start(*arguments, environment=environment)
    try:
        async with asyncio.timeout(deadline):
            out, err = await process.communicate(given.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert "Traceback" not in err.decode(), err.decode()
    return Done(process.returncode or 0, out.decode(), err.decode())
