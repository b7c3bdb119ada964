"""Ports for servers that are about to start."""

import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from devtools import free_ports


@pytest.fixture
def given_long_ago(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> range:
    """A thousand ports that no other test is given. Every other one was reserved once, and may be given out again."""
    ports = range(12_000, 13_000)
    monkeypatch.setattr(free_ports, "RESERVED", tmp_path)
    monkeypatch.setattr(free_ports, "PORTS", ports)
    for port in ports[::2]:
        (tmp_path / str(port)).touch()
        os.utime(tmp_path / str(port), (0, 0))
    return ports


def test_no_port_is_given_out_twice_before_its_server_can_listen(
    given_long_ago: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "randrange", lambda _: 0)  # all look in the same order, at the same time
    together = Barrier(4)

    def ask(count: int) -> list[int]:
        together.wait()
        return free_ports.free_ports(count)

    with ThreadPoolExecutor(4) as threads:
        given = [port for ports in threads.map(ask, [200] * 4) for port in ports]
    assert len(set(given)) == len(given) == 800
    assert set(given) <= set(given_long_ago)


def test_a_machine_without_a_free_port_is_an_error(given_long_ago: range) -> None:
    assert len(free_ports.free_ports(len(given_long_ago) - 100)) == len(given_long_ago) - 100
    with pytest.raises(OSError, match="Ports 12000 to 12999 are in use"):
        free_ports.free_ports(101)
