"""`tokenstream demo` from outside: it checks itself, leaves nothing behind, and reports a failure in a sentence."""

import signal
import socket
import sys
from pathlib import Path

import psutil
import pytest

from devtools.demo.process import running_demo
from support.commands import run_command


async def run_demo(*arguments: str, directory: Path) -> tuple[int | None, str]:
    command = (sys.executable, "-m", "processor", "demo", *arguments)
    return await run_command(*command, environment={"TMPDIR": str(directory), "COLUMNS": "100"}, within=150)


@pytest.mark.timeout(180)
async def test_once_everything_comes_back_as_it_was_produced_and_nothing_is_left_behind(tmp_path: Path) -> None:
    code, printed = await run_demo("--once", directory=tmp_path)
    assert code == 0, printed
    assert "11 of 11 responses came back byte for byte, live and from storage." in printed
    assert list(tmp_path.iterdir()) == []


async def test_a_taken_port_is_said_at_once_in_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, printed = await run_demo("--port", str(port), directory=tmp_path)
    assert (code, printed) == (1, f"Port {port} is taken: choose another with --port.\n")


@pytest.mark.timeout(180)
def test_ended_by_sigkill_it_takes_its_processes_with_it(tmp_path: Path) -> None:
    with running_demo(TMPDIR=str(tmp_path)) as address:
        assert address
        children = psutil.Process().children(recursive=True)
        demo = next(child for child in children if "demo" in child.cmdline())
        started = demo.children(recursive=True)
        assert len(started) >= 3
        demo.send_signal(signal.SIGKILL)
        gone, alive = psutil.wait_procs(started, timeout=20)
    assert (len(gone), alive) == (len(started), [])
