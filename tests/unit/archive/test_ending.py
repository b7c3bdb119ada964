"""However Faust behaves where it is stopped or cancelled, an archive ends in bounded time and the event loop goes on."""

import asyncio
import threading
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from typing import Any

import pytest
from aiokafka.errors import ConsumerStoppedError

from processor.archive.app import STOP_SECONDS, Archive, ArchiveSettings
from processor.archive.consumer_thread import EndingThread
from processor.archive.stream import ResponseStream
from processor.kafka.connection import KafkaConnection
from processor.telemetry.metrics import Metrics
from support.virtual_time import in_virtual_time


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


async def ended_after(stream: Stubborn, cancelled_after: float) -> float:
    """Returns the seconds between the cancellation of an archive with this stream and its end."""
    stage: Any = Stage()
    settings = ArchiveSettings("a", "responses", "letters")
    archive = Archive(
        settings,
        source=lambda: KafkaConnection("nowhere"),
        store=stage,
        metrics=Metrics(),
        new_stream=lambda _: stream,
        letters=stage,
    )
    running = asyncio.ensure_future(archive.run())
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


def thread_of(stream: ResponseStream) -> EndingThread:
    consumer = stream._consumer
    if consumer is None:
        stream._app.consumer  # noqa: B018 - makes it
        consumer = stream._consumer
    assert consumer is not None
    assert isinstance(consumer._thread, EndingThread)
    return consumer._thread


@pytest.fixture
async def thread() -> AsyncIterator[EndingThread]:
    async def receive(_: object) -> None: ...

    stream = ResponseStream(
        KafkaConnection("127.0.0.1:1"),
        group_id="a",
        topic="responses",
        session_timeout=6.0,
        max_batch_bytes=1 << 20,
        receive=receive,
        rebalanced=lambda _: None,
    )
    unused = thread_of(stream)
    yield unused
    unused.thread_loop.close()


class WithoutKafka(EndingThread):
    """A thread that starts and stops without a consumer; its end asks the event loop of its owner."""

    async def on_start(self) -> None:
        self.add_future(self._ask_at_the_end())

    async def _ask_at_the_end(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            asked = asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self.parent_loop)
            await asyncio.wrap_future(asked)


async def test_a_call_into_a_thread_that_has_stopped_is_refused(thread: EndingThread) -> None:
    other = WithoutKafka(thread.consumer, loop=thread.parent_loop, beacon=thread.beacon)
    await other.start()
    assert await other.call_thread(name_of_thread) != threading.current_thread().name
    stopped = asyncio.run_coroutine_threadsafe(other.method_queue.stop(), other.thread_loop)
    await asyncio.wrap_future(stopped)
    async with asyncio.timeout(10):
        with pytest.raises(ConsumerStoppedError):
            await other.call_thread(name_of_thread)
    await other.stop()


async def name_of_thread() -> str:
    return threading.current_thread().name


async def test_the_event_loop_goes_on_while_a_thread_ends(thread: EndingThread) -> None:
    other = WithoutKafka(thread.consumer, loop=thread.parent_loop, beacon=thread.beacon)
    await other.start()
    async with asyncio.timeout(10):
        await other.stop()
    assert other._thread is not None
    assert not other._thread.is_alive()
    assert other._thread.daemon
