"""However Faust behaves where it is cancelled, an archive ends in bounded time, and never ends its reading silently."""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import pytest

from processor.archive.app import START_SECONDS, STOP_SECONDS, Archive, ArchiveSettings
from processor.kafka.connection import KafkaConnection
from processor.telemetry.metrics import Metrics
from support.virtual_time import in_virtual_time
from support.waiting import until


class Stage:
    """A store that opens, and a writer of dead letters."""

    async def start(self) -> None: ...
    async def close(self) -> None: ...


class Stubborn:
    """A stream that goes on where it is cancelled, for `starting` and `stopping` seconds."""

    cut_off = False
    assigned: Collection[object] = ()

    def __init__(self, starting: float, stopping: float) -> None:
        self._starting, self._stopping = starting, stopping
        self.calls: list[str] = []

    async def start(self) -> None:
        self.calls.append("start")
        await self._busy(self._starting)
        self.calls.append("started")

    async def wait_until_failed(self) -> BaseException:
        await asyncio.Event().wait()
        raise AssertionError

    async def stop(self) -> None:
        self.calls.append("stop")
        await self._busy(self._stopping)

    async def _busy(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(end - loop.time())

    def confirm(self, partition: int, offset: int, generation: int) -> None: ...

    def lag(self) -> Mapping[int, int]:
        return {}


class CancelledByItself(Stubborn):
    """A stream that raises CancelledError in one of its calls, though nobody cancels it."""

    def __init__(self, call: str, stopping: float = 0) -> None:
        super().__init__(starting=0, stopping=stopping)
        self._call = call

    async def start(self) -> None:
        await super().start()
        self._cancelled_in("start")

    async def wait_until_failed(self) -> BaseException:
        self._cancelled_in("wait")
        return RuntimeError("the consumer ended")

    async def stop(self) -> None:
        await super().stop()
        self._cancelled_in("stop")

    def _cancelled_in(self, call: str) -> None:
        if call == self._call:
            raise asyncio.CancelledError


def archive_with(stream: Stubborn) -> Archive:
    """`stream` is each of its streams."""
    stage: Any = Stage()
    settings = ArchiveSettings("a", "responses", "letters")
    return Archive(
        settings,
        source=lambda: KafkaConnection("nowhere"),
        store=stage,
        metrics=Metrics(),
        new_stream=lambda _: stream,
        letters=stage,
    )


async def ended_after(stream: Stubborn, cancelled_after: float) -> float:
    """Returns the seconds between the cancellation of an archive with this stream and its end."""
    running = asyncio.ensure_future(archive_with(stream).run())
    await asyncio.sleep(cancelled_after)
    loop = asyncio.get_running_loop()
    began = loop.time()
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    return loop.time() - began


@in_virtual_time
async def test_a_cancellation_while_the_stream_starts_is_not_lost() -> None:
    stream = Stubborn(starting=3, stopping=1)
    assert await ended_after(stream, cancelled_after=1) == pytest.approx(3)
    assert stream.calls == ["start", "started", "stop"]


@in_virtual_time
async def test_a_stream_that_never_starts_and_never_stops_delays_the_end_by_both_bounds() -> None:
    stream = Stubborn(starting=1e6, stopping=1e6)
    assert await ended_after(stream, cancelled_after=1) == pytest.approx(2 * STOP_SECONDS)


@in_virtual_time
async def test_a_cancellation_while_a_failed_stream_stops_waits_for_its_stop() -> None:
    stream = CancelledByItself("wait", stopping=4)
    assert await ended_after(stream, cancelled_after=1) == pytest.approx(3)


async def is_replaced(stream: Stubborn, within: float) -> None:
    running = asyncio.ensure_future(archive_with(stream).run())
    await until(lambda: stream.calls.count("start") > 2, within)
    running.cancel()
    await asyncio.wait({running})


@in_virtual_time
async def test_a_stream_that_is_cancelled_by_itself_is_replaced() -> None:
    for call in ("start", "wait", "stop"):
        await is_replaced(CancelledByItself(call), within=5)


@in_virtual_time
async def test_a_stream_that_never_starts_is_replaced() -> None:
    await is_replaced(Stubborn(starting=1e6, stopping=0), within=3 * START_SECONDS)
