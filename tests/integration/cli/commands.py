"""Runs the command line as people do: a process of its own, with settings in its environment."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devtools.deployment import kafka_settings
from devtools.process import prefixed
from devtools.terminal import start
from topics.specs import TopicNames


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> list[dict[str, Any]]:
        assert self.code == 0, self
        return [json.loads(line) for line in self.out.splitlines()]


def kafka_environment(bootstrap: str, names: TopicNames) -> dict[str, str]:
    return prefixed(kafka_settings(bootstrap, names))


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
