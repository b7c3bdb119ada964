"""The real `ably` for Python against the local realtime server, in both formats."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from ably import AblyException, AblyRealtime, AblyRest
from ably.types.message import Message
from websockets.exceptions import ConnectionClosed

from devtools.emulator.server import DEFAULT_KEY, LocalRealtime, demo_token
from support.waiting import eventually

Connect = Callable[..., Any]


@pytest.fixture(params=[True, False], ids=["msgpack", "json"])
def binary(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
async def connect(server: LocalRealtime, binary: bool) -> AsyncIterator[Connect]:
    clients = []

    async def make(*, wait: bool = True, **options: Any) -> Any:
        credentials = {} if "token" in options else {"key": DEFAULT_KEY}
        client = AblyRealtime(
            **credentials, endpoint=server.endpoint, tls=False, use_binary_protocol=binary, queue_messages=False,
            disconnected_retry_timeout=100, **options,
        )  # fmt: skip
        clients.append(client)
        if wait:
            await eventually(lambda: client.connection.state == "connected")
        return client

    yield make
    for client in clients:
        await client.close()


@pytest.fixture
async def rest(server: LocalRealtime, binary: bool) -> AsyncIterator[Any]:
    token = demo_token(DEFAULT_KEY, {"*": ["*"]}, None, 600.0)
    client = AblyRest(token=token, endpoint="127.0.0.1", port=server.port, tls=False, use_binary_protocol=binary)
    yield client
    await client.close()


async def publish(channel: Any, *message: Any) -> Any:
    async with asyncio.timeout(5.0):
        return await channel.publish(*message)


async def refused(channel: Any, *message: Any) -> int:
    with pytest.raises(AblyException) as raised:
        await publish(channel, *message)
    return int(raised.value.code)


async def test_what_is_published_is_delivered_as_it_was(connect: Connect) -> None:
    heard: list[Any] = []
    await (await connect()).channels.get("chat:1").subscribe(lambda message: heard.append(message))  # noqa: PLW0108 - ably takes functions only
    channel = (await connect()).channels.get("chat:1")
    result = await publish(channel, Message(id="a/b", name="token", data="häl😀", extras={"headers": {"seq": "1"}}))
    await publish(channel, "object", {"a": [1]})
    await publish(channel, "bytes", b"\x00\xff")
    await eventually(lambda: len(heard) == 3)
    first, second, third = heard
    assert (first.id, first.name, first.data, first.extras) == ("a/b", "token", "häl😀", {"headers": {"seq": "1"}})
    assert second.data == {"a": [1]}
    assert bytes(third.data) == b"\x00\xff"
    assert first.serial == result.serials[0]


async def test_an_id_is_accepted_once_across_connections(server: LocalRealtime, connect: Connect) -> None:
    message = Message(id="r/token/1-2/0", name="token", data="x")
    first = await publish((await connect()).channels.get("c"), message)
    again = await publish((await connect()).channels.get("c"), message)
    assert first.serials == again.serials
    assert len(server.log["c"]) == 1


async def test_an_array_is_one_publish(server: LocalRealtime, connect: Connect) -> None:
    channel = (await connect()).channels.get("c")
    result = await publish(channel, [Message(id=f"base:{i}", name="n", data=str(i)) for i in range(3)])
    assert len(result.serials) == 3
    assert await refused(channel, [Message(id="x", name="n"), Message(id="y", name="n")]) == 40031
    assert [message.data for message in server.log["c"]] == ["0", "1", "2"]


async def test_a_refused_publish_is_told_with_its_code(server: LocalRealtime, connect: Connect) -> None:
    channel = (await connect()).channels.get("c")
    server.faults.add({"nack": {"code": 42911, "times": 1}})
    assert await refused(channel, "n", "1") == 42911
    await publish(channel, "n", "2")
    assert [message.data for message in server.log["c"]] == ["2"]


async def test_answers_may_be_late_and_batched_and_stay_in_order(server: LocalRealtime, connect: Connect) -> None:
    channel = (await connect()).channels.get("c")
    server.faults.add({"batch_ack": {"count": 5, "ms": 60_000}})
    results = await asyncio.gather(*(publish(channel, "n", str(i)) for i in range(10)))
    serials = [result.serials[0] for result in results]
    assert serials == sorted(serials)
    assert serials == [message.serial for message in server.log["c"]]


async def test_a_swallowed_answer_leaves_the_publish_accepted(server: LocalRealtime, connect: Connect) -> None:
    client = await connect()
    server.faults.add({"drop_ack": {"times": 1}})
    waiting = asyncio.ensure_future(client.channels.get("c").publish("n", "1"))
    await eventually(lambda: len(server.log["c"]) == 1)
    assert not waiting.done()
    server.faults.add({"cut": {}})
    with pytest.raises((AblyException, ConnectionClosed)):
        await waiting


async def test_a_cut_connection_resumes_and_its_subscriber_misses_nothing(
    server: LocalRealtime, connect: Connect
) -> None:
    heard: list[str] = []
    reader = await connect()
    await reader.channels.get("c").subscribe(lambda message: heard.append(message.data))
    before = reader.connection.connection_manager.connection_id
    publisher = (await connect()).channels.get("c")
    for number in range(50):
        if number == 20:
            server.faults.add({"cut": {"connection": before}})
        await publish(publisher, "n", str(number))
    await eventually(lambda: len(heard) == 50)
    assert heard == [str(number) for number in range(50)]
    assert reader.connection.connection_manager.connection_id == before


async def test_a_refused_resume_gives_a_new_connection(server: LocalRealtime, connect: Connect) -> None:
    client = await connect()
    before = client.connection.connection_manager.connection_id
    server.faults.add({"refuse_resume": {"code": 80018}, "disconnected": {"code": 80003}})
    await eventually(lambda: client.connection.connection_manager.connection_id != before)
    await eventually(lambda: client.connection.state == "connected")


async def test_a_connection_error_fails_the_connection(server: LocalRealtime, connect: Connect) -> None:
    client = await connect()
    server.faults.add({"error": {"code": 80000}})
    await eventually(lambda: client.connection.state == "failed")
    assert client.connection.error_reason.code == 80000


async def test_a_message_over_the_limit_is_refused(connect: Connect, server: LocalRealtime) -> None:
    channel = (await connect()).channels.get("c")
    await publish(channel, "n", "x" * 65_000)
    assert await refused(channel, "n", "x" * 66_000) == 40009


async def test_rates_over_the_real_limit_are_refused(server: LocalRealtime, connect: Connect) -> None:
    server.faults.add({"limits": {}})
    channel = (await connect()).channels.get("c")
    results = await asyncio.gather(*(publish(channel, "n", str(i)) for i in range(60)), return_exceptions=True)
    codes = [result.code for result in results if isinstance(result, AblyException)]
    assert codes
    assert set(codes) == {42911}
    assert len(server.log["c"]) == 50


async def test_history_pages_newest_first_and_forwards(connect: Connect, rest: Any) -> None:
    channel = (await connect()).channels.get("chat:[42]-ü/x")
    for number in range(7):
        await publish(channel, "n", str(number))
    stored = rest.channels.get("chat:[42]-ü/x")
    assert await _all(await stored.history(limit=3)) == ["6", "5", "4", "3", "2", "1", "0"]
    assert await _all(await stored.history(limit=4, direction="forwards")) == ["0", "1", "2", "3", "4", "5", "6"]


async def _all(page: Any) -> list[str]:
    found = [message.data for message in page.items]
    while page.has_next():
        page = await page.next()
        found += [message.data for message in page.items]
    return found


async def test_history_can_be_unavailable_or_incomplete(server: LocalRealtime, connect: Connect, rest: Any) -> None:
    channel = (await connect()).channels.get("c")
    await publish(channel, "n", "1")
    server.faults.add({"history": {"status": 503, "times": 1}})
    with pytest.raises(AblyException) as raised:
        await rest.channels.get("c").history()
    assert raised.value.status_code == 503
    server.faults.add({"history": {"stale_seconds": 60}})
    assert (await rest.channels.get("c").history()).items == []
    server.faults.clear()
    assert len((await rest.channels.get("c").history()).items) == 1


async def test_a_rest_publish_reaches_subscribers(connect: Connect, rest: Any) -> None:
    heard: list[Any] = []
    await (await connect()).channels.get("c").subscribe(lambda message: heard.append(message))  # noqa: PLW0108 - ably takes functions only
    await rest.channels.get("c").publish("n", "from rest")
    await eventually(lambda: len(heard) == 1)
    assert heard[0].data == "from rest"


async def test_a_token_grants_only_its_capability(connect: Connect) -> None:
    client = await connect(token=demo_token(DEFAULT_KEY, {"mine:*": ["publish"]}, None, 600.0))
    await publish(client.channels.get("mine:1"), "n", "1")
    assert await refused(client.channels.get("yours:1"), "n", "1") == 40160


async def test_an_expired_token_is_refused(connect: Connect) -> None:
    client = await connect(wait=False, token=demo_token(DEFAULT_KEY, {"*": ["*"]}, None, -1.0))
    await eventually(lambda: client.connection.state == "failed")
    assert client.connection.error_reason.code in (40142, 40171)


async def test_a_server_that_is_down_comes_back_on_its_port(server: LocalRealtime, connect: Connect) -> None:
    port = server.port
    server.faults.add({"down": {"seconds": 0.3}})
    await eventually(lambda: _refused_at(port))
    await eventually(lambda: _reachable(port))
    await publish((await connect()).channels.get("c"), "n", "1")
    assert server.port == port


async def _reachable(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def _refused_at(port: int) -> bool:
    return not await _reachable(port)


async def test_latency_delays_each_way_and_keeps_order(server: LocalRealtime, connect: Connect) -> None:
    client = await connect()
    server.faults.add({"latency": {"in_ms": 50, "out_ms": 50}})
    loop = asyncio.get_running_loop()
    started = loop.time()
    results = await asyncio.gather(*(publish(client.channels.get("c"), "n", str(i)) for i in range(5)))
    assert loop.time() - started >= 0.1
    assert [message.data for message in server.log["c"]] == ["0", "1", "2", "3", "4"]
    assert len(results) == 5
