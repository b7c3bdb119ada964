"""Ports for servers that are about to start."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest

from devtools.free_ports import free_ports

PORTS = range(12_000, 13_000)


@pytest.fixture
def asked(tmp_path: Path) -> Callable[[int], list[int]]:
    """Asks for some of a thousand ports that no other test is given, always in the same order.

    Every other one was reserved once, and may be given out again.
    """
    for port in PORTS[::2]:
        (tmp_path / str(port)).touch()
        os.utime(tmp_path / str(port), (0, 0))
    return partial(free_ports, ports=PORTS, reserved=tmp_path, draw=lambda _: 0)


def test_no_port_is_given_out_twice_before_its_server_can_listen(asked: Callable[[int], list[int]]) -> None:
    together = Barrier(4)

    def ask(count: int) -> list[int]:
        together.wait()
        return asked(count)

    with ThreadPoolExecutor(4) as threads:
        given = [port for ports in threads.map(ask, [200] * 4) for port in ports]
    assert len(set(given)) == len(given) == 800
    assert set(given) <= set(PORTS)


def test_a_machine_without_a_free_port_is_an_error(asked: Callable[[int], list[int]]) -> None:
    assert len(asked(len(PORTS) - 100)) == len(PORTS) - 100
    with pytest.raises(OSError, match="Ports 12000 to 12999 are in use"):
        asked(101)
