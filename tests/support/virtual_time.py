"""Runs tests on a loop whose clock moves only when nothing else is to be done: what they wait for costs no time."""

import functools
from collections.abc import Callable, Coroutine
from typing import Any

from simulation.loop import Node, VirtualLoop


def run_in_virtual_time(play: Callable[[VirtualLoop], Coroutine[Any, Any, None]]) -> None:
    """Runs `play`, which does no I/O, to its end, and ends what it left running. Raises what it raises."""
    loop = VirtualLoop()  # type: ignore[abstract]  # it has what code without I/O asks for
    node = Node("relay-0")
    try:
        loop.run(loop.spawn(play(loop), node))
    finally:
        loop.bury(lambda: [node])


def in_virtual_time(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Decorates a test that does no I/O. It may not take fixtures."""

    @functools.wraps(test)
    def run() -> None:
        run_in_virtual_time(lambda _: test())

    del run.__wrapped__  # pytest would take it for a coroutine function
    return run
