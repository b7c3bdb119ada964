"""Ports for servers that are about to start."""

from concurrent.futures import ThreadPoolExecutor

from devtools.free_ports import PORTS, free_ports


def test_no_port_is_given_out_twice_before_its_server_can_listen() -> None:
    with ThreadPoolExecutor(4) as threads:
        given = [port for ports in threads.map(free_ports, [200] * 4) for port in ports]
    assert len(set(given)) == len(given) == 800
    assert set(given) <= set(PORTS)
