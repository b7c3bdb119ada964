"""Starts Python programs as forks of a server that has imported the product: each start saves half a processor second."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from devtools.children import Running, Streams, launch

SERVER = Path(__file__).with_name("fork_server.py")


class Forked:
    """A program that the server started, seen as asyncio sees a process. It ends with this process at the latest."""

    def __init__(self, pid: int, pipe: IO[bytes]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._pipe = pipe
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(pipe, self._end)

    def _end(self) -> None:
        code = self._pipe.readline()
        asyncio.get_running_loop().remove_reader(self._pipe)
        self._pipe.close()
        self.returncode = int(code) if code else -signal.SIGKILL  # without its server it was killed
        self._ended.set()

    async def wait(self) -> int:
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and we have not heard of it yet
                os.kill(self.pid, number)


class ForkServer:
    """Starts programs as `Launch` describes: by the server, which starts with the first; others by themselves."""

    def __init__(self) -> None:
        self._requests: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._environment = dict(os.environ)
        """The server's: what is read as an interpreter starts, or as modules are imported, is read of it."""

    async def launch(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        streams: Streams,
        folder: Path | None = None,
    ) -> Running:
        if not can_be_forked(command, environment, self._environment):
            return await launch(command, environment, streams, folder)
        request = {"arguments": command[1:], "environment": dict(environment), "folder": str(folder or Path.cwd())}
        reading, writing = os.pipe()
        pipe = os.fdopen(reading, "rb", buffering=0)
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - a device
            files = (streams.given or nothing, streams.output, streams.errors or streams.output)
            socket.send_fds(
                self._started(), [json.dumps(request).encode()], [*(file.fileno() for file in files), writing]
            )
        os.close(writing)
        return Forked(int(await asyncio.to_thread(pipe.readline)), pipe)

    def close(self) -> None:
        """Ends the server, and with it what it started."""
        if self._requests is not None and self._server is not None:
            self._requests.close()
            self._server.wait()

    def _started(self) -> socket.socket:
        if self._requests is None:
            self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                command = [sys.executable, str(SERVER), str(theirs.fileno())]
                self._server = subprocess.Popen(
                    command,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,  # Python buffers what it prints to a terminal in another way
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
        return self._requests


def can_be_forked(command: Sequence[str], environment: Mapping[str, str], servers: Mapping[str, str]) -> bool:
    """Returns True for a program of Python, not a `-c`, whose environment is that of the server but for settings."""
    program = command[1] if command[0] == sys.executable and len(command) > 1 else ""
    return (program == "-m" or program.endswith(".py")) and read_early(environment) == read_early(servers)


def read_early(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns what the loader (LD_PRELOAD), the interpreter, or a library may read before the program begins.

    Not the settings, nor those of the object store's client, which `support.stores` sets.
    """
    late = ("TOKENSTREAM_", "AWS_", "PYTEST_CURRENT_TEST")
    return {name: value for name, value in environment.items() if not name.startswith(late)}
