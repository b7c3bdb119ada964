"""The controls of a relay: passes cancels to its partitions, and writes notices to producers about responses that it
ended.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Final, NoReturn, Protocol

import structlog

from processor.clock import Clock
from processor.core.backoff import Backoff
from processor.core.response import Cancel
from processor.core.write_queue import Unwanted
from processor.errors import KafkaUnavailable, SettingsError
from processor.ports.controls import Controls, ControlsSource
from processor.telemetry.retry import Retry
from topics.controls import ControlEvent, ControlRecord, ControlsMemory

log = structlog.get_logger(__name__)

LOOKBACK: Final = 600.0
"""Seconds. A relay that starts reads cancels this old: their responses may still be open after an outage of all relays."""
MOST_NOTICES: Final = 10_000
"""Notices that wait to be written. Above it, the oldest is dropped, and its producer continues needlessly."""
ATTEMPTS: Final = 5
RETRY: Final = Backoff(first=0.2, cap=5.0)

TakeControl = Callable[[ControlRecord, float], None]


class Cancellable(Protocol):
    """A partition's worker, as cancels reach it."""

    def cancel(self, control: ControlRecord, cancel: Cancel) -> None: ...


class RelayControls:
    """`source` and `sink` are None if nothing is read or written.

    `retried` is called for each further attempt to write. `memory` is shared by all pipelines of the process.
    """

    def __init__(
        self,
        clock: Clock,
        random: Random,
        *,
        source: Callable[[TakeControl], ControlsSource] | None = None,
        sink: Controls | None = None,
        retried: Callable[[], None] = lambda: None,
    ) -> None:
        self.memory = ControlsMemory(LOOKBACK)
        self._clock = clock
        self._random = random
        self._source = None if source is None else source(self.apply)
        self._sink = sink
        self._retried = retried
        self._workers: Callable[[], Iterable[Cancellable]] = tuple
        self._notices: deque[ControlRecord] = deque(maxlen=MOST_NOTICES)
        self._noticed = asyncio.Event()

    @property
    def trouble(self) -> str | None:
        """Why no cancel comes, as a sentence; None while controls are read."""
        return None if self._source is None else self._source.trouble

    def apply(self, control: ControlRecord, age: float) -> None:
        """A control was read that was written `age` seconds ago; 0 for one that has just come."""
        if control.event is not ControlEvent.CANCEL:
            return
        now = self._clock.monotonic()
        repeated = bool(self.memory.find(control.response_id, control.channel, now))
        if self.memory.note(control, now - age, now):
            waited = self._clock.wall() - (control.ts or 0) / 1000
            cancel = Cancel(now - max(age, waited, 0.0), now - age, now, repeated)
            for worker in self._workers():
                worker.cancel(control, cancel)

    def notify(self, unwanted: Sequence[Unwanted]) -> None:
        """Queues notices to producers and returns at once. A notice that cannot be written is dropped after some attempts."""
        now_ms = self._clock.wall_ms()
        for each in unwanted:
            self._notices.append(
                ControlRecord(ControlEvent.UNWANTED, each.response_id, each.channel, now_ms, each.reason)
            )
        if unwanted:
            self._noticed.set()

    async def run(self, workers: Callable[[], Iterable[Cancellable]]) -> NoReturn:
        """Read and write until cancelled."""
        self._workers = workers
        try:
            async with asyncio.TaskGroup() as tasks:
                if self._source is not None:
                    tasks.create_task(self._source.run())
                while True:
                    await self._noticed.wait()
                    self._noticed.clear()
                    while self._notices:
                        await self._write(self._notices.popleft())
        finally:
            if self._sink is not None:
                await self._sink.close()

    async def _write(self, notice: ControlRecord) -> None:
        if self._sink is None:
            return
        retry = Retry(RETRY, self._random.random, self._retried)
        while retry.attempt < ATTEMPTS:
            try:
                await self._sink.write(notice)
            except (KafkaUnavailable, SettingsError) as error:
                log.warning("notice_retry", attempt=retry.attempt, cause=str(error))
                await retry.pause()
            else:
                return
        log.error("notice_dropped", responseId=notice.response_id, reason=notice.reason)
