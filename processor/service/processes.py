"""Runs several relays on one machine, as processes of one consumer group, because a Python process uses one core.

They share only the group, which splits the partitions among them. The parent starts them, forwards the signals that
it gets, and ends all of them when one ends: its supervisor (Kubernetes, systemd) then starts all of them again.
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import structlog

from processor.config.settings import Settings
from processor.config.sources import PREFIX

log = structlog.get_logger("tokenstream")

PR_SET_PDEATHSIG = 1
ROOM = 15.0
"""Seconds a process may take to stop beyond its drain timeout."""


def environments(settings: Settings, environ: Mapping[str, str], count: int) -> list[dict[str, str]]:
    """One for each process: what must differ is the HTTP port, counted up from HTTP_PORT, and a static member's id."""
    found = []
    for number in range(count):
        own = {"HTTP_PORT": str(settings.http_port + number if settings.http_port else 0)}
        if settings.kafka_group_instance_id is not None:
            own["KAFKA_GROUP_INSTANCE_ID"] = f"{settings.kafka_group_instance_id}-{number}"
        files = {f"{PREFIX}{name}_FILE" for name in own}  # a value and a file of it are not given together
        kept = {name: value for name, value in environ.items() if name not in files}
        found.append(kept | {f"{PREFIX}{name}": value for name, value in own.items()})
    return found


async def run_processes(settings: Settings, count: int, config: Path | None) -> int:
    """Until SIGTERM or SIGINT, or until one ends. Returns 0 after a clean stop of all, and otherwise what the first gave."""
    arguments = ["-m", "processor", "relay", *(("--config", str(config)) if config is not None else ())]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = [await _start(arguments, environment) for environment in environments(settings, os.environ, count)]
    log.info("processes_started", count=count, pids=[process.pid for process in running])
    ends = [asyncio.ensure_future(process.wait()) for process in running]
    stopped = asyncio.ensure_future(stop.wait())
    await asyncio.wait({*ends, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    first = next((end.result() for end in ends if end.done()), 0)
    if not stop.is_set():
        log.error("process_ended", code=first)
    await _end(running, settings.drain_timeout + ROOM)
    codes = [await end for end in ends]
    log.info("processes_stopped", codes=codes)
    return exit_code(first, codes, asked=stop.is_set())


def exit_code(first: int, codes: Sequence[int], *, asked: bool) -> int:
    """Returns the exit status.

    A process that ended unasked is a failure: its own status (2 for a wrong setting), or 1 if that is 0 or a signal.
    """
    if asked:
        return 0 if not any(codes) else 1
    return first if first > 0 else 1


async def _start(arguments: Sequence[str], environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments),
        env=environment,
        start_new_session=True,  # Ctrl-C in a terminal is for this process, which stops them in its order
        preexec_fn=partial(end_with, os.getpid()) if sys.platform == "linux" else None,
    )


def end_with(parent: int) -> None:
    """Has the kernel send SIGTERM to this process when its parent, of this process id, ends. Ends it if that has ended."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the call above, so that nothing would end this process
        os._exit(1)


async def _end(running: Sequence[asyncio.subprocess.Process], within: float) -> None:
    for process in running:
        if process.returncode is None:
            process.terminate()
    try:
        async with asyncio.timeout(within):
            await asyncio.gather(*(process.wait() for process in running))
    except TimeoutError:
        for process in running:
            if process.returncode is None:
                process.kill()
