"""Runs the command line as people do: a process of its own, with settings in its environment."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devtools.children import without_settings
from devtools.deployment import kafka_settings
from devtools.process import PROGRAM, prefixed
from support.commands import run_into, text
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
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        everything = {**without_settings(), **environment}
        code = await run_into((*PROGRAM, *arguments), everything, out, err, within=deadline, given=given)
        done = Done(code, text(out), text(err))
    assert "Traceback" not in done.err, done.err
    return done
