"""Runs Node on the scripts of tests."""

import asyncio
import os
from pathlib import Path

ROOT = Path(__file__).parents[1]


async def run(*command: str, **environment: str) -> str:
    """What the command printed; it must end with 0, within a minute."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(60):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, printed.decode()
    return printed.decode()
