"""What a socket is sent in one turn: acknowledgements of neighbours as one frame, everything in order."""

import asyncio
from typing import Any

from devtools.emulator import wire
from devtools.emulator.links import Link, framed
from devtools.emulator.wire import Action, Format, ProtocolMessage, PublishResult


class Wire:
    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return False


def link_on(transport: Any) -> Link:
    return Link(1, Format.JSON, socket=None, transport=transport)  # type: ignore[arg-type]


def ack(serial: int) -> ProtocolMessage:
    return ProtocolMessage(action=Action.ACK, msg_serial=serial, count=1, res=[PublishResult((f"s{serial}",))])


def on_the_wire(*messages: ProtocolMessage) -> bytes:
    return b"".join(framed(wire.encode(message, Format.JSON), Format.JSON) for message in messages)


async def test_neighbouring_acknowledgements_of_a_turn_are_one_frame() -> None:
    transport = Wire()
    link = link_on(transport)
    for serial in (7, 8, 9):
        link.acknowledge(ack(serial))
    await asyncio.sleep(0)
    results = [PublishResult((f"s{serial}",)) for serial in (7, 8, 9)]
    assert transport.written == [on_the_wire(ProtocolMessage(action=Action.ACK, msg_serial=7, count=3, res=results))]


async def test_acknowledgements_that_are_no_neighbours_stay_apart() -> None:
    transport = Wire()
    link = link_on(transport)
    link.acknowledge(ack(7))
    link.acknowledge(ack(9))
    await asyncio.sleep(0)
    assert transport.written == [on_the_wire(ack(7), ack(9))]


async def test_what_is_sent_between_two_acknowledgements_comes_between_them() -> None:
    transport = Wire()
    link = link_on(transport)
    link.acknowledge(ack(7))
    link.write(b"message")
    link.acknowledge(ack(8))
    await asyncio.sleep(0)
    assert transport.written == [on_the_wire(ack(7)) + b"message" + on_the_wire(ack(8))]


async def test_a_frozen_link_acknowledges_nothing() -> None:
    transport = Wire()
    link = link_on(transport)
    link.frozen = True
    link.acknowledge(ack(7))
    await asyncio.sleep(0)
    assert transport.written == []
