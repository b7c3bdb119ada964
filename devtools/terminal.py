"""Runs the command line as people do, on a pseudo-terminal whose screen can be looked at."""

import asyncio
import fcntl
import os
import pty
import struct
import termios
import time
from collections.abc import Mapping
from typing import Self

import pyte

from devtools.children import without_settings
from devtools.process import PROGRAM


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
    base = without_settings()
    if terminal is not None:
        base |= {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    return await asyncio.create_subprocess_exec(
        *PROGRAM,
        *arguments,
        env={**base, **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE if terminal is None else terminal,
        stderr=asyncio.subprocess.PIPE,
    )
