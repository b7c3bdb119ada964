"""What the service's answers mean for the messages of a connection."""

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from ably.types.connectionstate import ConnectionState

from processor.ably.exchange import Exchange

ACK, NACK, MESSAGE = 1, 2, 15
UNKNOWN = 50001
FORBIDDEN = {"message": "no", "code": 40160, "statusCode": 401}


class Connection:
    """One that is connected. `to_sdk` has the frames that are no answers."""

    def __init__(self) -> None:
        self.to_sdk: list[Any] = []
        self._received = SimpleNamespace(put=self.to_sdk.append)
        socket = SimpleNamespace(
            recv_messages=self._received,
            protocol=SimpleNamespace(send_binary=lambda _: None),
            send_data=lambda: None,
            transport=SimpleNamespace(),
        )
        transport = SimpleNamespace(websocket=socket, on_activity=lambda: None)
        self.exchange = Exchange(SimpleNamespace(state=ConnectionState.CONNECTED, msg_serial=0), transport)

    def send(self, count: int) -> list["asyncio.Future[None]"]:
        return [self.exchange.send({"action": MESSAGE, "channel": f"chat:{number}"}) for number in range(count)]

    def receive(self, data: bytes) -> None:
        self._received.put(SimpleNamespace(opcode=2, fin=True, data=data))


def outcome(answer: "asyncio.Future[None]") -> str | int:
    if not answer.done():
        return "unanswered"
    error: Any = answer.exception()
    return "accepted" if error is None else error.code


@pytest.mark.parametrize(
    ("message", "outcomes"),
    [
        ({"action": ACK, "msgSerial": 0, "count": 2}, ["accepted", "accepted", "unanswered"]),
        ({"action": NACK, "msgSerial": 0, "error": FORBIDDEN}, [40160, "unanswered", "unanswered"]),
        ({"action": ACK, "msgSerial": 2, "count": 1}, [UNKNOWN, UNKNOWN, "accepted"]),
        ({"action": NACK, "msgSerial": 1, "count": 1, "error": FORBIDDEN}, [UNKNOWN, 40160, "unanswered"]),
        ({"action": ACK, "msgSerial": 0, "count": 2**40}, ["accepted"] * 3),
        ({"action": ACK, "msgSerial": 7, "count": 0}, [UNKNOWN] * 3),
        ({"action": ACK, "msgSerial": 0, "count": 0}, ["unanswered"] * 3),
        ({"action": NACK, "msgSerial": 0, "count": 3, "error": None}, [UNKNOWN] * 3),
    ],
)
async def test_only_the_messages_that_are_meant_are_accepted_or_refused(
    message: dict[str, Any], outcomes: list[str | int]
) -> None:
    connection = Connection()
    answers = connection.send(3)
    connection.receive(msgspec.msgpack.encode(message))
    assert [outcome(answer) for answer in answers] == outcomes
    assert connection.to_sdk == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode({"action": ACK, "msgSerial": "0"}),
        b"\x82\xa6action\x0f\xa1x" + b"\x91" * 200_000 + b"\xc0",
    ],
    ids=["empty", "no msgpack", "a number as text", "nested deeply"],
)
async def test_what_can_not_be_read_is_left_to_the_sdk(data: bytes) -> None:
    connection = Connection()
    [answer] = connection.send(1)
    connection.receive(data)
    assert outcome(answer) == "unanswered"
    assert len(connection.to_sdk) == 1
