"""Finds free ports of this machine, for servers that are about to start."""

import contextlib
import fcntl
import os
import random
import socket
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

HOST = "127.0.0.1"
# Below the range that Linux and macOS hand to outgoing connections, so that a port stays free while its broker is down.
PORTS = range(20_000, 32_000)
RESERVED = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tokenstream" / "ports"
RESERVED_SECONDS = 300.0
"""A port that was given out is given to nobody else so long: a server needs seconds until it listens."""


def free_ports(
    count: int,
    *,
    ports: range = PORTS,
    reserved: Path = RESERVED,
    draw: Callable[[int], int] = random.randrange,
) -> list[int]:
    """`count` of `ports` that nothing listens on now, and that no caller in any process of this user was given recently.

    `reserved` has a file for each that was. The search begins at the place that `draw` chooses.
    Raises OSError where there are fewer.
    """
    reserved.mkdir(parents=True, exist_ok=True)
    first = draw(len(ports))
    with (reserved / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        free = (port for port in (*ports[first:], *ports[:first]) if reserve(reserved / str(port)) and is_free(port))
        found = list(islice(free, count))
    if len(found) < count:
        raise OSError(f"Ports {ports.start} to {ports.stop - 1} are in use, or were given out in the last 5 minutes.")
    return found


def reserve(mark: Path) -> bool:
    """Returns True if the port of this file was not reserved; now it is."""
    with contextlib.suppress(FileNotFoundError):
        if time.time() - mark.stat().st_mtime < RESERVED_SECONDS:
            return False
    mark.touch()
    return True


def is_free(port: int) -> bool:
    """Returns True if nothing listens on it."""
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Returns one. See `free_ports`."""
    (port,) = free_ports(1)
    return port
