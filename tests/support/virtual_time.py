"""Runs a test on a loop whose clock moves only when nothing else is to be done: what it waits for costs no time."""

import functools
from collections.abc import Callable, Coroutine
from typing import Any

from simulation.loop import Node, VirtualLoop


def in_virtual_time(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Decorates a test that does no I/O. It may not take fixtures."""

    @functools.wraps(test)
    def run() -> None:
        loop = VirtualLoop()  # type: ignore[abstract]  # it has what code without I/O asks for
        node = Node("test")
        try:
            loop.run(loop.spawn(test(), node))
        finally:
            loop.bury(lambda: [node])

    del run.__wrapped__  # pytest would take it for a coroutine function
    return run
