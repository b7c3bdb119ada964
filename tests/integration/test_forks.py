"""A forked program is what it would be in an interpreter of its own."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devtools.children import Child, Streams
from devtools.faultlab.around import NotHere, SkewedClock
from support.commands import run_command
from support.forks import Forked, ForkServer

SHOWN = """\
import json, os, sys
given = sys.stdin.read()
print("wrong", file=sys.stderr)
names = {name: value for name, value in os.environ.items() if name.startswith("TOKENSTREAM_OF_")}
print(json.dumps([sys.argv[1:], os.getcwd(), given, names, __name__, os.getsid(0) == os.getpid()]))
sys.exit(3)
"""
ENDLESS = "import time\nprint('here', flush=True)\ntime.sleep(1000)\n"
ROLES = ("archive.app", "api.app", "service.relay_role", "service.gateway_role", "service.bridge_role")


def written(folder: Path, text: str) -> str:
    path = folder / "program.py"
    path.write_text(text)
    return str(path)


@pytest.fixture
async def server() -> AsyncIterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()


async def test_it_has_its_arguments_environment_folder_input_session_and_exit_code(tmp_path: Path) -> None:
    command = (sys.executable, written(tmp_path, SHOWN), "a", "b c")
    code, printed = await run_command(*command, environment={"TOKENSTREAM_OF_IT": "1"}, cwd=tmp_path, given="given")
    assert code == 3
    wrong, shown = printed.splitlines()
    assert wrong == "wrong"
    assert json.loads(shown) == [["a", "b c"], str(tmp_path), "given", {"TOKENSTREAM_OF_IT": "1"}, "__main__", True]


async def test_an_exception_ends_it_as_it_ends_an_interpreter(tmp_path: Path) -> None:
    code, printed = await run_command(sys.executable, written(tmp_path, "1 / 0"), environment={})
    assert code == 1
    assert printed.splitlines()[-1] == "ZeroDivisionError: division by zero"


async def test_a_signal_ends_it_and_its_number_is_the_code(tmp_path: Path) -> None:
    with (tmp_path / "output").open("wb") as output:
        process = await Child.launch((sys.executable, written(tmp_path, ENDLESS)), os.environ, Streams(output))
    assert isinstance(process, Forked)
    assert process.returncode is None
    process.send_signal(signal.SIGKILL)
    assert await process.wait() == process.returncode == -signal.SIGKILL


async def test_it_ends_with_its_server(server: ForkServer, tmp_path: Path) -> None:
    with (tmp_path / "output").open("wb") as output:
        process = await server.launch((sys.executable, written(tmp_path, ENDLESS)), os.environ, Streams(output))
    server.close()
    async with asyncio.timeout(20):
        assert await process.wait() == -signal.SIGKILL
        while Path(f"/proc/{process.pid}").exists():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", ["PYTHONHASHSEED", "LD_LIBRARY_PATH", "TMPDIR", "LC_ALL"])
async def test_what_depends_on_the_interpreter_gets_one_of_its_own(tmp_path: Path, name: str) -> None:
    """Another variable than a setting may be read before a fork sees it."""
    with (tmp_path / "output").open("wb") as output:
        for command, more in (((sys.executable, "-c", ""), {}), ((sys.executable, written(tmp_path, "")), {name: "1"})):
            process = await Child.launch(command, {**os.environ, **more}, Streams(output))
            assert not isinstance(process, Forked)
            assert await process.wait() == 0


async def test_a_clock_that_is_skewed_is_so_for_a_program(tmp_path: Path) -> None:
    clock = SkewedClock(tmp_path)
    clock.set(3600)
    try:
        environment = clock.environment()
    except NotHere as why:
        pytest.skip(str(why))
    program = written(tmp_path, "import time\nprint(time.time())\n")
    _, printed = await run_command(sys.executable, program, environment=environment)
    assert float(printed) - time.time() == pytest.approx(3600, abs=60)


@pytest.mark.parametrize("module", ROLES)
async def test_a_role_imports_what_it_needs_without_what_a_server_has_imported(module: str) -> None:
    code, printed = await run_command(sys.executable, "-c", f"import processor.{module}", environment={})
    assert (code, printed) == (0, "")
