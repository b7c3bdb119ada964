"""An event loop on virtual time, shared by several processes that can be frozen and killed one by one.

Nothing waits: when no callback is ready, the clock jumps to the next timer. Callbacks run in the order in which they
became ready, so the same seed gives the same run. Every callback belongs to the process (`Node`) in whose context it
was scheduled.
Callbacks of a frozen node are kept until it continues, those of a dead one permanently.
"""

import asyncio
import contextvars
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

BURIALS = 10
RESOLUTION = 1e-6
"""The minimum of a wait: a wait too short for a float to show would never end."""


class Node:
    """A process. `alive` and `frozen` are turned by the faults."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self.suspended = 0.0
        """Seconds in which its machine was suspended: its monotonic clock did not advance."""
        self.suspended_since: float | None = None
        self.backlog: list[Callback] = []

    def __repr__(self) -> str:
        return f"<Node {self.name} alive={self.alive} frozen={self.frozen}>"


NODE: contextvars.ContextVar[Node | None] = contextvars.ContextVar("node", default=None)


class Callback(asyncio.TimerHandle):
    """A handle without what only a debugger asks of it: a run makes hundreds of thousands."""

    __slots__ = ()

    def __init__(
        self, callback: Callable[..., Any], args: tuple[Any, ...], context: contextvars.Context | None
    ) -> None:
        self._callback, self._args = callback, args
        self._context = contextvars.copy_context() if context is None else context
        self._cancelled = False

    def __repr__(self) -> str:
        return f"<Callback {self._callback!r}>"

    def cancel(self) -> None:
        self._cancelled = True
        self._callback, self._args = _nothing, ()

    def run(self) -> None:
        self._context.run(self._callback, *self._args)


def _nothing() -> None:
    pass


class Stuck(AssertionError):
    """The world did more than it may: a loop that never waits, or never ends."""


class VirtualLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as code without I/O needs."""

    def __init__(self, max_steps: int = 400_000) -> None:
        self.now = 0.0
        self.steps = 0
        self._max_steps = max_steps
        self._ready: deque[Callback] = deque()
        self._timers: list[tuple[float, int, Callback]] = []
        self._count = 0
        self._outside = contextvars.Context()
        self._failure: BaseException | None = None

    # What asyncio asks of a loop

    def time(self) -> float:
        """As the machine of the process that asks has it: what was suspended lags behind."""
        node = NODE.get()
        return self.now if node is None else self.now - node.suspended

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return events._get_running_loop() is self

    def is_closed(self) -> bool:
        return False

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:  # type: ignore[override]  # asyncio's variadic types
        handle = Callback(callback, args, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]  # asyncio's variadic types
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self._at(self.now + delay, callback, args, context)

    def call_at(  # type: ignore[override]  # asyncio's variadic types
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self._at(when + self.now - self.time(), callback, args, context)

    def later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context
    ) -> asyncio.TimerHandle:
        """Call later in a process's context, whoever asks."""
        return self._at(self.now + delay, callback, args, context)

    def _at(self, when: float, callback: Callable[..., Any], args: tuple[Any, ...], context: Any) -> Callback:
        soonest = self.now + RESOLUTION
        timer = Callback(callback, args, context)
        self._count += 1
        heapq.heappush(self._timers, (when if when > soonest else soonest, self._count, timer))  # noqa: FURB136 - max is slower
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: object = None, context: Any = None) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, name=str(name) if name else None, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if "never retrieved" in str(context.get("message")):
            return  # an answer to a node that is dead by now, or has stopped waiting
        error = context.get("exception")
        self.fail(error if isinstance(error, BaseException) else AssertionError(context.get("message")))

    def fail(self, error: BaseException) -> None:
        """End the run with this. The first one counts."""
        self._failure = self._failure or error

    # The world's own

    def outside(self, delay: float, callback: Callable[..., Any], *args: Any) -> asyncio.TimerHandle:
        """Call later, in no node's context: what is on its way in the network does not stop with its sender."""
        return self.outside_at(self.now + delay, callback, *args)

    def outside_at(self, when: float, callback: Callable[..., Any], *args: Any) -> asyncio.TimerHandle:
        return self._at(when, callback, args, self._outside)

    def spawn(self, coro: Coroutine[Any, Any, T], node: Node | None = None) -> asyncio.Task[T]:
        context = contextvars.Context()
        context.run(NODE.set, node)
        return asyncio.Task(coro, loop=self, context=context)

    def suspend(self, node: Node) -> None:
        """Freezes the process, and stops its monotonic clock until it is thawed."""
        node.frozen = True
        if node.suspended_since is None:
            node.suspended_since = self.now

    def thaw(self, node: Node) -> None:
        node.frozen = False
        if node.suspended_since is not None:
            node.suspended += self.now - node.suspended_since
            node.suspended_since = None
        self._ready.extend(node.backlog)
        node.backlog = []

    def run(self, until: asyncio.Future[T]) -> T:
        """Run until the future is done; its result. Raises Stuck when nothing is left that could do it."""
        previous = events._get_running_loop()
        events._set_running_loop(self)
        try:
            while not until.done() and self._failure is None:
                self._step()
        finally:
            events._set_running_loop(previous)
        if self._failure is not None:
            raise self._failure
        return until.result()

    def bury(self, nodes: Callable[[], Iterable[Node]]) -> None:
        """Cancel every task that is left, of the dead too, and let them end. Raises Stuck where one outlives that.

        `nodes` gives the processes there are by then: one may still be started by what was on its way.
        """
        previous = events._get_running_loop()
        events._set_running_loop(self)
        try:
            for _ in range(BURIALS):
                for node in nodes():
                    node.alive = True
                    self.thaw(node)
                left = [task for task in asyncio.all_tasks(self) if not task.done()]
                if not left:
                    return
                self._max_steps = self.steps + 5_000
                for task in left:
                    task.cancel()
                with suppress(Stuck):
                    self._end(left)
        finally:
            events._set_running_loop(previous)
        raise Stuck(f"{left} outlive the run")

    def _end(self, tasks: list[asyncio.Task[Any]]) -> None:
        while not all(task.done() for task in tasks):
            for _ in range(50):
                self._step()

    def _step(self) -> None:
        ready = self._ready
        while not ready:
            self._jump()
        if self.steps > self._max_steps:
            raise Stuck(f"more than {self._max_steps} steps, at {self.now:.3f} s, in {ready[0]!r}")
        handle = ready.popleft()
        if handle._cancelled:  # as asyncio's own loop does
            return
        node: Node | None = handle._context.get(NODE)
        if node is not None and (node.frozen or not node.alive):
            node.backlog.append(handle)
            return
        self.steps += 1
        try:
            handle.run()
        except Exception as error:  # noqa: BLE001 - whatever a callback raises ends the run, and not this loop
            self.fail(error)

    def _jump(self) -> None:
        """To the next timer, and past those that were cancelled."""
        timers, when = self._timers, None
        while timers and (when is None or timers[0][0] <= when):
            due, _, timer = heapq.heappop(timers)
            if not timer._cancelled:
                when = self.now = max(self.now, due)
                self._ready.append(timer)
        if when is None:
            raise Stuck(f"nothing will ever happen again, at {self.now:.3f} s")
