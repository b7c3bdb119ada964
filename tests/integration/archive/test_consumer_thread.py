"""The thread of Faust's consumer always ends, the event loop goes on meanwhile, and no end of reading is silent."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka.errors import ConsumerStoppedError

from devtools.kafka import LocalKafka
from processor.archive.stream import ResponseStream
from support.archives import idle_stream
from support.waiting import eventually
from topics.specs import TopicNames


@pytest.fixture
async def started(kafka: LocalKafka, topic_names: TopicNames) -> AsyncIterator[ResponseStream]:
    stream = idle_stream(kafka, topic_names)
    await stream.start()
    yield stream
    await stream.stop()


@pytest.fixture
def thread(started: ResponseStream) -> Any:
    """The thread of a started stream; an EndingThread, whose private parts Faust's users call."""
    consumer: Any = started._consumer
    return consumer._thread


async def name_of_thread() -> str:
    return threading.current_thread().name


async def test_a_call_into_a_thread_that_takes_no_more_is_refused(thread: Any) -> None:
    assert await thread.call_thread(name_of_thread) == thread._thread.name
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(thread.method_queue.stop(), thread.thread_loop))
    async with asyncio.timeout(10):
        with pytest.raises(ConsumerStoppedError):
            await thread.call_thread(name_of_thread)


async def test_the_event_loop_goes_on_while_a_thread_ends_that_needs_it(thread: Any) -> None:
    owner = asyncio.get_running_loop()

    async def asking_at_the_end() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asyncio.sleep(0), owner))

    async def added() -> None:
        thread.add_future(asking_at_the_end())

    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(added(), thread.thread_loop))
    async with asyncio.timeout(20):
        await thread.stop()
    assert not thread._thread.is_alive()
    assert thread._thread.daemon


async def test_a_cancellation_that_ends_fausts_fetcher_is_a_failure(started: ResponseStream) -> None:
    await eventually(lambda: bool(started.assigned), deadline=30)
    fetcher: Any = started._app._fetcher
    for task in tuple(fetcher._futures):
        task.cancel()
    async with asyncio.timeout(20):
        assert str(await started.wait_until_failed()) == "the client has stopped reading"


async def test_a_client_whose_task_that_fetches_has_ended_is_a_failure(started: ResponseStream, thread: Any) -> None:
    await eventually(lambda: bool(started.assigned), deadline=30)
    fetching = thread._consumer._fetcher._fetch_task
    thread.thread_loop.call_soon_threadsafe(fetching.cancel)
    await eventually(fetching.done, deadline=10)
    async with asyncio.timeout(20):
        assert str(await started.wait_until_failed()) == "the client has stopped reading"
