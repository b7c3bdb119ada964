"""Child processes that end with the process that started them, however it ends, and whose output goes to a file."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, ClassVar, Protocol

import aiohttp

from devtools.waiting import slowness
from processor.errors import Fatal

TIED = Path(__file__).with_name("tied.py")
READY_SECONDS = 60.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.05


def tied() -> tuple[str, ...]:
    """Returns the words to put before a command so that it ends with the thread that starts it, also by SIGKILL."""
    return (sys.executable, "-I", "-S", str(TIED), str(os.getpid()))


def without_settings() -> dict[str, str]:
    """Returns the environment of this process without its settings of tokenstream."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TOKENSTREAM_")}


def tail(log: Path, lines: int = 20) -> str:
    """Returns the last lines of a log; empty if there is no log."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:])


class ChildFailed(Fatal):
    """A child process ended by itself, or was not ready or did not end in time; the message ends with the tail of its log."""


class Running(Protocol):
    """A started process."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None:
        """None while it runs, the negative number of the signal that ended it."""

    async def wait(self) -> int: ...

    def send_signal(self, number: int, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Streams:
    """The standard streams of a command: errors go to `output` too where they have no file, and it is `given` nothing."""

    output: IO[bytes]
    errors: IO[bytes] | None = None
    given: IO[bytes] | None = None


class Launch(Protocol):
    """Starts a command with this environment and no other, in `folder`, else where this process is."""

    async def __call__(
        self, command: Sequence[str], environment: Mapping[str, str], streams: Streams, folder: Path | None = None
    ) -> Running: ...


async def launch(
    command: Sequence[str], environment: Mapping[str, str], streams: Streams, folder: Path | None = None
) -> asyncio.subprocess.Process:
    """As `Launch`. The kernel ends the command when the thread that calls this ends."""
    return await asyncio.create_subprocess_exec(
        *tied(),
        *command,
        env=environment,
        stdin=streams.given or asyncio.subprocess.DEVNULL,
        stdout=streams.output,
        stderr=streams.errors or streams.output,
        cwd=folder,
        start_new_session=True,  # Ctrl-C in a terminal is for the parent, which ends its children in order
    )


class Child:
    """One command, from start to end; it may be started again. `name` is what people read.

    `environment` is added to that of this process, without its settings of tokenstream.
    """

    launch: ClassVar[Launch] = staticmethod(launch)
    """How children are started; tests have another."""

    def __init__(self, name: str, *command: str, log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        self._command = command
        self.environment = {**without_settings(), **(environment or {})}
        self._process: Running | None = None
        self._asked_to_end = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, {f'pid={self.pid}' if self.is_alive else 'down'})"

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Raises AssertionError where it was not started yet."""
        assert self._process is not None, f"{self.name} is not started"
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs. Raises AssertionError where it was not started yet."""
        assert self._process is not None, f"{self.name} is not started"
        return self._process.returncode

    async def start(self) -> None:
        """Starts it, or starts it again. It ends when the thread that calls this ends, at the latest."""
        self._asked_to_end = False
        with self.log.open("ab") as log:
            self._process = await self.launch(self._command, self.environment, Streams(log))

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal. Does nothing when it is down."""
        if self._process is not None and self._process.returncode is None:
            self._asked_to_end |= number in (signal.SIGTERM, signal.SIGKILL)
            self._process.send_signal(number)

    async def kill(self) -> None:
        """Sends SIGKILL and waits for the end: nothing is drained. Does nothing when it is down."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()

    async def stop(self, deadline: float = STOP_SECONDS) -> int:
        """Sends SIGTERM, and returns the exit code. Raises ChildFailed, and kills it, where it does not end in time."""
        if self._process is None:
            return 0
        self.signal(signal.SIGTERM)
        try:
            return await self.ended(deadline)
        except ChildFailed:
            await self.kill()
            raise

    async def ended(self, deadline: float = STOP_SECONDS) -> int:
        """Waits for its end, and returns the exit code. Raises ChildFailed after `deadline` seconds of an idle machine."""
        assert self._process is not None, f"{self.name} is not started"
        try:
            async with asyncio.timeout(deadline * slowness()):
                return await self._process.wait()
        except TimeoutError:
            raise ChildFailed(f"{self.name} did not end in {deadline:g} s.\n{self.tail()}") from None

    def check(self) -> None:
        """Raises ChildFailed when it ended by itself."""
        if self._process is not None and self._process.returncode is not None and not self._asked_to_end:
            raise ChildFailed(f"{self.name} ended with code {self._process.returncode}.\n{self.tail()}")

    async def until_answers(self, url: str, deadline: float = READY_SECONDS, every: float = POLL_SECONDS) -> None:
        """Returns when the URL answers 200. Raises ChildFailed when the child ends, or does not answer in time."""
        reported = "nothing"
        try:
            async with asyncio.timeout(deadline * slowness()), aiohttp.ClientSession() as http:
                while True:
                    self.check()
                    status, text = await asked(http, url)
                    if status == 200:
                        return
                    reported = text or reported
                    await asyncio.sleep(every)
        except TimeoutError:
            raise ChildFailed(
                f"{self.name} was not ready in {deadline:g} s; it reported: {reported}\n{self.tail()}"
            ) from None

    def tail(self, lines: int = 20) -> str:
        return tail(self.log, lines)


async def asked(http: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    """Returns status and text of the answer; 0 and an empty text without an answer within five seconds."""
    try:
        async with http.get(url, timeout=aiohttp.ClientTimeout(total=5)) as answer:
            return answer.status, await answer.text()
    except (aiohttp.ClientError, TimeoutError):
        return 0, ""
