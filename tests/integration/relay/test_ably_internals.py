"""What the relay relies on in the Ably SDK, some of it internal: these fail when it changes."""

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest
from ably import AblyRealtime
from ably.types.message import Message

from devtools.emulator.server import DEFAULT_KEY, LocalRealtime
from processor.ably.ably import RETRY, AblyOptions, Connection, message_of
from processor.ably.gathering import GatheringTransport, gather_writes
from processor.core.framer import Frame
from processor.core.pacing import Pace
from processor.errors import PublishRefused, PublishRetry, RefusalKind
from processor.telemetry.retry import Retry
from support.around import Around
from support.waiting import eventually, working

CLIENT = "tokenstream"


@pytest.fixture
async def connection(server: LocalRealtime) -> AsyncIterator[Connection]:
    options = AblyOptions(key=lambda: DEFAULT_KEY, client_id=CLIENT, endpoint=server.endpoint, tls=False)
    made = Connection(options, Pace(0.0, 0.0, 0.0), Retry(RETRY, Random(1).random, lambda: None), lambda: None)
    async with working(made):
        yield made


def frame(channel: str, number: int, data: str | None = "Grüße 👋", *, json: bool = False) -> Frame:
    headers = {"responseId": "r", "seq": str(number), "seqEnd": str(number), "offset": "0"}
    return Frame(
        channel=channel,
        response_id="r",
        name="token",
        id=f"r/token/{number}-{number}/0",
        data=data,
        json=json,
        headers=headers,
    )


@pytest.mark.parametrize(("data", "json"), [("text", False), ('{"model":"m"}', True), (None, False)])
async def test_a_message_is_on_the_wire_as_the_sdks_own_channel_publishes_it(
    server: LocalRealtime, connection: Connection, data: str | None, json: bool
) -> None:
    sent = frame("ours", 1, data, json=json)
    await connection.publish(sent, 5.0)
    client = AblyRealtime(key=DEFAULT_KEY, client_id=CLIENT, endpoint=server.endpoint, tls=False)
    own = Message(
        name=sent.name,
        data=data,
        client_id=CLIENT,
        id=sent.id,
        encoding="json" if json else "",
        extras={"headers": sent.headers},
    )
    assert message_of(sent, connection._options) == {
        key: value for key, value in own.as_dict(binary=True).items() if value is not None
    }
    await client.channels.get("theirs").publish(own)
    await client.close()
    (ours,), (theirs,) = server.log["ours"], server.log["theirs"]
    for field in ("name", "data", "client_id", "id", "encoding", "extras"):
        assert getattr(ours, field) == getattr(theirs, field), field


class Counting(Around):
    """A transport that counts its writes."""

    writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        self.inside.write(data)


async def test_frames_of_one_turn_leave_in_one_write_and_all_arrive(
    server: LocalRealtime, connection: Connection
) -> None:
    client = connection._client
    assert client is not None
    socket = client.manager.transport.websocket
    assert isinstance(socket.transport, GatheringTransport), "the SDK keeps its socket elsewhere now"
    socket.transport = counting = Counting(socket.transport)
    gather_writes(socket)
    async with asyncio.TaskGroup() as tasks:
        for number in range(50):
            tasks.create_task(connection.publish(frame(f"c{number}", number), 5.0))
    assert counting.writes == 1
    assert [server.log[f"c{number}"][0].id for number in range(50)] == [
        f"r/token/{number}-{number}/0" for number in range(50)
    ]


async def test_no_channel_object_is_made_in_the_sdk(connection: Connection) -> None:
    await connection.publish(frame("c", 1), 5.0)
    assert connection._client is not None
    assert list(connection._client.sdk.channels) == []


async def test_a_message_above_the_services_size_is_refused_before_it_is_sent(
    server: LocalRealtime, connection: Connection
) -> None:
    with pytest.raises(PublishRefused) as refused:
        await connection.publish(frame("c", 1, "x" * 65_536), 5.0)
    assert refused.value.kind is RefusalKind.TOO_LARGE
    assert "c" not in server.log


async def test_without_an_answer_the_client_is_replaced_and_the_next_one_publishes(
    server: LocalRealtime, connection: Connection
) -> None:
    before = connection._client
    server.faults.add({"drop_publish": {"times": 1}})
    with pytest.raises(PublishRetry, match="no answer in time"):
        await connection.publish(frame("c", 1), 0.1)
    await eventually(lambda: connection._up.is_set() and connection._client is not before, deadline=60)
    await connection.publish(frame("c", 1), 5.0)
    assert [message.id for message in server.log["c"]] == ["r/token/1-1/0"]


async def test_a_transport_that_ends_late_costs_one_connect(server: LocalRealtime, connection: Connection) -> None:
    """As after a pause: the SDK gives up a transport that lives on. Two of them would resume the connection in turn."""
    before, client = server.connects, connection._client
    assert client is not None
    client.manager.deactivate_transport()
    await eventually(lambda: connection._client not in (client, None) and connection._up.is_set(), deadline=60)
    for number in range(20):
        await connection.publish(frame("c", number), 5.0)
    assert server.connects - before == 1
    assert len(server.log["c"]) == 20


async def test_a_message_in_flight_is_sent_again_at_once_where_the_service_disconnects(
    server: LocalRealtime, connection: Connection
) -> None:
    """Whatever form it has: with a status for which the SDK tries other hosts, another one, or without an error."""
    errors: tuple[dict[str, object], ...] = ({"code": 80003}, {"code": 50003, "status": 503}, {"code": None})
    for number, error in enumerate(errors):
        server.faults.add({"disconnected": {"publishes": 1, "times": 1, **error}})
        with pytest.raises(PublishRetry, match=r"the connection (failed|changed)"):
            await connection.publish(frame("c", number), 30.0)
        await connection.connected()
        await connection.publish(frame("c", number), 5.0)
        server.faults.clear()
    assert len(server.log["c"]) == 3
