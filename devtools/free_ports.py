"""Finds free ports of this machine, for servers that are about to start."""

import random
import socket

HOST = "127.0.0.1"
# Below the range that Linux and macOS hand to outgoing connections, so that a port stays free while its broker is down.
PORTS = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """`count` different ports that nothing listens on now. Another process may take one before it is used."""
    found: set[int] = set()
    while len(found) < count:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        found.add(port)
    return list(found)


def free_port() -> int:
    """Returns one. See `free_ports`."""
    (port,) = free_ports(1)
    return port
