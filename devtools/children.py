"""Child processes that end with the demo, however it ends, and whose output goes to a file."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from processor.errors import Fatal

TIED = Path(__file__).with_name("tied.py")
POLL_SECONDS = 0.05


class ChildFailed(Fatal):
    """A process of the demo ended, or was not ready in time; the message ends with the tail of its log."""


class Child:
    """One command, from start to stop; may be started again. `name` is what people read."""

    def __init__(self, name: str, *command: str, log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._command = command
        self._log = log
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"Child({self.name}, {'pid=' + str(self.pid) if self.is_alive else 'down'})"

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Starts it again. It ends with the thread that calls this, also by SIGKILL."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(TIED), str(os.getpid()), *self._command],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal is for the demo, which stops its children in order
            )

    def kill(self) -> None:
        """SIGKILL: no goodbye, nothing drained."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def stop(self, deadline: float = 30.0) -> None:
        """SIGTERM, and SIGKILL after `deadline` seconds. Does nothing when it is down."""
        until = time.monotonic() + deadline
        if self._process is None or not self.is_alive:
            return
        self._process.terminate()
        while self.is_alive:
            if time.monotonic() > until:
                self._process.kill()
            await asyncio.sleep(POLL_SECONDS)

    def check(self) -> None:
        """Raises ChildFailed when it ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise ChildFailed(f"{self.name} ended with code {self._process.returncode}.\n{self.log_tail()}")

    def log_tail(self, lines: int = 20) -> str:
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])
