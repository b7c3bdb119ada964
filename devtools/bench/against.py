"""Sends the same backlog through other programs, in the same run: a plain program, and a loop that only reads."""

import asyncio
import json
import os
import sys
from typing import Any

from devtools.bench.results import Result
from devtools.bench.worker_process import WorkerFailed
from devtools.children import tied
from devtools.deployment import LocalDeployment

PLAIN = "devtools.plain"
BARE = "devtools.bench.bare_loop"
DEADLINE = 120.0


async def run_against(stage: LocalDeployment, relayed: Result, records: int, seconds: float) -> Result:
    """`relayed` is the relay's result for the backlog on this stage. The plain program gets some seconds of the same
    backlog.
    """
    bootstrap, topic = stage.bootstrap, stage.names.tokens
    assert stage.endpoint is not None
    settings = {
        "BOOTSTRAP": bootstrap,
        "TOPIC": topic,
        "GROUP": f"{topic}.plain",
        "ENDPOINT": stage.endpoint,
        "KEY": stage.key,
        "SECONDS": f"{seconds:g}",
    }
    plain = await _said(PLAIN, **settings)
    bare = await _said(BARE, bootstrap, topic, str(records))
    result = Result(
        scenario="against", title="The same backlog through other programs", load=relayed.load, seed=relayed.seed
    )
    ours = relayed.get("tokens a second") or 0.0
    theirs = plain["tokens"] / plain["seconds"]
    ceiling = bare["tokens"] / bare["seconds"]
    result.add("tokenstream", ours, "tokens/s")
    result.add("plain program, a publish a token", theirs, "tokens/s")
    result.add("loop that only reads", ceiling, "tokens/s")
    result.add("tokenstream against the plain program", ours / theirs if theirs else 0.0, "x")
    result.add("tokenstream against the loop", ours / ceiling if ceiling else 0.0, "x")
    result.add("tokenstream, a processor second", relayed.get("tokens per processor second") or 0.0, "tokens/s")
    result.add(
        "loop that only reads, a processor second", bare["tokens"] / bare["cpu"] if bare["cpu"] else 0.0, "tokens/s"
    )
    return result


async def _said(module: str, *arguments: str, **environment: str) -> dict[str, Any]:
    """What a program printed last. Raises WorkerFailed."""
    log = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(*tied(), sys.executable, "-m", module, *arguments),
        env={**os.environ, **environment},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(DEADLINE):
            said, complained = await process.communicate()
    except TimeoutError:
        process.kill()
        said, complained = await process.communicate()
        raise WorkerFailed(f"{module} printed nothing within {DEADLINE:g} s.\n{complained.decode()[-2000:]}") from None
    if not said:
        raise WorkerFailed(f"{module} ended with code {process.returncode}.\n{complained.decode()[-2000:]}")
    answer: dict[str, Any] = json.loads(said.splitlines()[-1])
    return answer
