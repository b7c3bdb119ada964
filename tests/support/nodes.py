"""Runs Node on the scripts of tests."""

from pathlib import Path

from support.commands import run_command

ROOT = Path(__file__).parents[2]


async def run(*command: str, **environment: str) -> str:
    """What the command printed; it must end with 0, within a minute."""
    code, printed = await run_command(*command, environment=environment, cwd=ROOT)
    assert code == 0, printed
    return printed
