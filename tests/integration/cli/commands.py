"""Runs the command line as people do: a process of its own, with settings in its environment."""

import asyncio
import fcntl
import json
import os
import pty
import struct
import sys
import termios
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyte

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


class Terminal:
    """A pseudo-terminal, and what it shows. `fed_at` is when something came last, in monotonic seconds."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.screen = pyte.Screen(columns, rows)
        self.fed_at = 0.0
        self._stream = pyte.ByteStream(self.screen)

    def __enter__(self) -> Self:
        self._master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", self.screen.lines, self.screen.columns, 0, 0))
        asyncio.get_running_loop().add_reader(self._master, self._read)
        return self

    def __exit__(self, *_exception: object) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self.slave)

    def _read(self) -> None:
        self.fed_at = time.monotonic()
        self._stream.feed(os.read(self._master, 65_536))

    def shown(self) -> str:
        return "\n".join(self.screen.display)


async def start(
    *arguments: str, environment: Mapping[str, str], terminal: int | None = None
) -> asyncio.subprocess.Process:
    base = {name: value for name, value in os.environ.items() if not name.startswith("TOKENSTREAM_")}
    if terminal is not None:
        base |= {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "processor",
        *arguments,
        cwd=ROOT,
        env={**base, **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE if terminal is None else terminal,
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
