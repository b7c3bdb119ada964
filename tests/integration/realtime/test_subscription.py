"""A reader follows its channel over the service's outages, and leaves no task of the SDK behind."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from ably import AblyRest
from ably.util.exceptions import AblyException

from devtools.emulator.server import DEFAULT_KEY, LocalRealtime
from processor.ably.ably import AblyOptions
from processor.ably.subscription import Interrupted, Subscription, SubscriptionRefused, SubscriptionUnavailable
from processor.reader.frames import Message
from support.waiting import eventually


def subscription(server: LocalRealtime, key: str = DEFAULT_KEY) -> Subscription:
    return Subscription(AblyOptions(key=lambda: key, client_id="reader", endpoint=server.endpoint, tls=False), "chat:1")


def tasks_of_the_sdk() -> list[str]:
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return [name for name in names if "Transport" in name or "Connection" in name]


@pytest.fixture
async def quiet() -> AsyncIterator[list[str]]:
    """What the event loop complains about."""
    heard: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: heard.append(str(context)))
    yield heard
    loop.set_exception_handler(None)


async def test_nothing_of_the_sdk_is_left_after_a_reader_left(server: LocalRealtime, quiet: list[str]) -> None:
    async with subscription(server) as following:
        await following.next(0.1)
    assert tasks_of_the_sdk() == []
    assert quiet == []


async def test_nothing_is_left_where_the_service_went_away(server: LocalRealtime, quiet: list[str]) -> None:
    async with subscription(server) as following:
        assert await following.next(5.0) == Interrupted()
        await server.stop()
        assert await following.next(1.5) is None
    assert tasks_of_the_sdk() == []
    assert quiet == []


async def test_nothing_is_left_where_the_key_is_refused(server: LocalRealtime, quiet: list[str]) -> None:
    with pytest.raises(SubscriptionRefused):
        async with subscription(server, "other.key:secret"):
            pass
    assert tasks_of_the_sdk() == []
    assert quiet == []


async def test_a_service_that_is_slow_to_attach_does_not_refuse(server: LocalRealtime) -> None:
    # Longer, both ways, than the SDK waits for an answer.
    server.faults.add({"latency": {"in_ms": 2_500, "out_ms": 2_500}})
    with pytest.raises(SubscriptionUnavailable, match="90007"):
        async with subscription(server):
            pass


async def test_a_reader_goes_on_after_the_service_was_away(server: LocalRealtime) -> None:
    publisher = AblyRest(
        key=DEFAULT_KEY, use_token_auth=True, endpoint="127.0.0.1", port=server.port, tls=False, client_id="ts"
    )
    channel = publisher.channels.get("chat:1")

    async def is_published() -> bool:
        try:
            await channel.publish("token", "text")
        except (AblyException, httpx.HTTPError):
            return False
        return True

    async with subscription(server) as following, publisher:
        assert await following.next(5.0) == Interrupted()
        server.faults.add({"down": {"seconds": 0.3}})
        await eventually(is_published, deadline=10.0)
        item = await following.next(10.0)
        assert isinstance(item, Message)
        assert item.data == "text"
