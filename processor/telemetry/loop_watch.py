"""Watches the event loop from a thread: how late it runs its timers, and what it is doing when it hangs.

After STALL_SECONDS without a beat the stacks of all threads are logged, once; the next beat rearms it.
If no thread can run, as inside one endless call into C that keeps the interpreter's lock, the stack of the calling
thread is written to stderr from C: a timer that counts the process's CPU time interrupts that thread.
Stacks are never read from another thread without the lock: that ends a process whose threads continue, as after a
suspension of the machine.
"""

import asyncio
import contextlib
import faulthandler
import signal
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator

import structlog

from processor.telemetry.metrics import Metrics

BEAT_SECONDS = 0.25
STALL_SECONDS = 3.0

log = structlog.stdlib.get_logger("tokenstream.loop")


class LoopWatch:
    """`async with watch.watching():` within the loop that is watched. One a process: the last resort in C is the process's."""

    def __init__(self, metrics: Metrics, *, stall: float = STALL_SECONDS) -> None:
        self._metrics = metrics
        self._stall = stall
        self._clock = time.monotonic
        self._beat_at = 0.0
        self._stalled_at: float | None = None
        self._ended = threading.Event()

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        self._beat_at = self._clock()
        beating = asyncio.create_task(self._beat(), name="loop-watch")
        thread = threading.Thread(target=self._guard, name="loop-watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            beating.cancel()
            await asyncio.wait({beating})
            await asyncio.to_thread(thread.join)

    # In the loop

    async def _beat(self) -> None:
        metrics = self._metrics
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            now = self._clock()
            late = max(0.0, now - self._beat_at - BEAT_SECONDS)
            self._beat_at = now
            metrics.event_loop_lag_seconds.observe(late)
            metrics.event_loop_lag_now.set(late)
            if self._stalled_at is not None:
                self._stalled_at = None
                log.warning("event_loop_resumed", seconds=round(late, 1))

    # In the thread

    def _guard(self) -> None:
        last_resort = _prepare_last_resort()
        try:
            while not self._ended.wait(self._stall / 6):
                if last_resort:
                    signal.setitimer(signal.ITIMER_VIRTUAL, 2 * self._stall)
                still = self._clock() - self._beat_at
                if still >= self._stall and self._stalled_at is None:
                    self._stalled_at = self._clock()
                    self._metrics.event_loop_stalls.inc()
                    log.error("event_loop_stalled", seconds=round(still, 1), stacks=stacks())
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _prepare_last_resort() -> bool:
    """Have SIGVTALRM write the stack of the thread it interrupts, until the process ends. Whether there is where to
    write.

    The handler stays: without it a late signal would end the process.
    """
    stderr = sys.__stderr__  # the real one: faulthandler writes to its file descriptor
    if stderr is None or stderr.closed:
        return False
    faulthandler.register(signal.SIGVTALRM, file=stderr, all_threads=False)
    return True


def stacks() -> str:
    """What every other thread is doing: files, lines and functions, no values."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"Thread {names.get(number, number)}:\n{''.join(traceback.format_stack(frame))}"
        for number, frame in sys._current_frames().items()  # noqa: SLF001 - the documented way
        if number != threading.get_ident()
    )
