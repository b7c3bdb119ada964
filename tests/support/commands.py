"""Runs a command to its end."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path


async def run_command(
    *command: str, environment: Mapping[str, str], within: float = 60, cwd: Path | None = None, given: str = ""
) -> tuple[int | None, str]:
    """Returns the exit code and what was printed, errors included. `environment` adds to ours; `given` is the standard input.

    Kills the command after `within` seconds: TimeoutError.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=os.environ | environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(within):
            printed, _ = await process.communicate(given.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, printed.decode()
