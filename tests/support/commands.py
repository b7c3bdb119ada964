"""Runs a command to its end."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from devtools.children import Child, Streams


async def run_command(
    *command: str, environment: Mapping[str, str], within: float = 60, cwd: Path | None = None, given: str = ""
) -> tuple[int, str]:
    """Returns the exit code and what was printed, errors included. `environment` adds to ours; `given` is the standard input.

    Kills the command after `within` seconds: TimeoutError.
    """
    with tempfile.TemporaryFile() as output:
        code = await run_into(command, os.environ | environment, output, output, within=within, folder=cwd, given=given)
        return code, text(output)


async def run_into(
    command: Sequence[str],
    environment: Mapping[str, str],
    output: IO[bytes],
    errors: IO[bytes],
    *,
    within: float,
    given: str = "",
    folder: Path | None = None,
) -> int:
    """Returns the exit code. As `run_command`, into these files."""
    with tempfile.TemporaryFile() as entered:
        entered.write(given.encode())
        entered.seek(0)
        process = await Child.launch(command, environment, Streams(output, errors, entered), folder)
        try:
            async with asyncio.timeout(within):
                return await process.wait()
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGKILL)
                await process.wait()


def text(file: IO[bytes]) -> str:
    """Returns all that is in a file."""
    file.seek(0)
    return file.read().decode()
