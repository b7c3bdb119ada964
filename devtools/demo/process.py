"""`tokenstream demo` as a process of its own."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator

ADDRESS = re.compile(r"http://localhost:\d+/")
STOP_SECONDS = 60.0


@contextlib.contextmanager
def running_demo(**environment: str) -> Iterator[str]:
    """The address of its page, once it can be opened; ended as Ctrl-C would end it."""
    command = [sys.executable, "-m", "processor", "demo", "--port", "0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **environment}
    )
    assert process.stdout is not None
    try:
        said: list[str] = []
        address = None
        while address is None:
            line = process.stdout.readline()
            assert line, f"the demo ended: {''.join(said)}"
            said.append(line)
            address = ADDRESS.search(line)
        yield address.group()
    finally:
        process.terminate()
        process.communicate(timeout=STOP_SECONDS)
