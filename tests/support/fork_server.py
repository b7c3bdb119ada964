"""Python programs as forks of one process that has imported the product and built its command line: half a second each.

    python fork_server.py FD

FD is a Unix socket. A packet asks for one program: a JSON object of `arguments` (those of the interpreter: `-m MODULE`
or a file, and what follows), `environment` and `folder`, with four descriptors: its standard input, output and error,
and a pipe. Down the pipe go the process id, and the exit code once it has ended: a line each. At the end of the socket
this process ends, and with it every program that it started.

A program is what it would be in an interpreter of its own, apart from the modules that are there already: its `__main__`,
arguments, environment, folder, session, signals and end. Single-threaded, so that a fork takes nothing half done along.
"""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from devtools.tied import end_with

PACKAGES = ("processor", "devtools.emulator")
LATE = ("anyio._backends._asyncio", "h2.connection", "httpcore", "uvloop")
"""What libraries import once they are used."""
LONGEST = 1 << 18
"""Bytes of a request."""


def import_all(packages: Sequence[str]) -> None:
    """Imports every module of these packages but programs."""
    for package in packages:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not module.name.endswith("__main__") and ".migrations." not in module.name:
                importlib.import_module(module.name)


class ForkServer:
    """What runs, and who is to hear of its end."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._running: dict[int, int] = {}
        """The pipe of each process id."""

    def serve(self) -> list[str]:
        """Returns in a program that was asked for, with its arguments. In the server it ends by SystemExit."""
        woken, waker = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_READ)
            selector.register(woken, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is woken:
                        woken.recv(4096)
                        self._reap()
                    elif (arguments := self._fork()) is not None:
                        signal.set_wakeup_fd(-1)
                        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                        woken.close()
                        waker.close()
                        return arguments

    def _fork(self) -> list[str] | None:
        """Returns the arguments in the new process, None in this one."""
        packet, descriptors, _, _ = socket.recv_fds(self._requests, LONGEST, 4)
        if not packet:
            raise SystemExit
        server, pid = os.getpid(), os.fork()
        if pid == 0:
            end_with(server)
            self._requests.close()
            for pipe in self._running.values():
                os.close(pipe)
            return become(json.loads(packet), descriptors)
        *streams, pipe = descriptors
        for stream in streams:
            os.close(stream)
        self._running[pid] = pipe
        tell(pipe, pid)
        return None

    def _reap(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            pipe = self._running.pop(pid)
            tell(pipe, os.waitstatus_to_exitcode(status))
            os.close(pipe)


def tell(pipe: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody waits for it
        os.write(pipe, b"%d\n" % number)


def become(request: dict[str, object], descriptors: Sequence[int]) -> list[str]:
    """Makes this process the one that is asked for, up to its program; returns the arguments of the interpreter."""
    os.setsid()
    *streams, pipe = descriptors
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.close(pipe)
    os.chdir(str(request["folder"]))
    environment, arguments = request["environment"], request["arguments"]
    assert isinstance(environment, dict)
    assert isinstance(arguments, list)
    os.environ.clear()
    os.environ.update(environment)
    return arguments


def run(arguments: Sequence[str]) -> None:
    """Runs `-m MODULE ARGUMENT...` or `FILE ARGUMENT...` as the interpreter does."""
    del sys.path[0]  # that of this file
    if arguments[0] == "-m":
        sys.path.insert(0, str(Path.cwd()))
        sys.argv = list(arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(arguments[0]).parent))
        sys.argv = list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    import_all(PACKAGES)
    for library in LATE:
        importlib.import_module(library)
    from processor.cli.main import command

    command()
    gc.collect()
    gc.freeze()  # no collection of a program writes to these pages
    run(ForkServer(socket.socket(fileno=int(sys.argv[1]))).serve())
