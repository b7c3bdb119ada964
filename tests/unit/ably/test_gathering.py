"""What one turn of the loop writes to a socket leaves in one piece, in order, and nothing is kept back."""

import asyncio
from typing import Any

from processor.ably.gathering import GatheringTransport


class Wire:
    """A transport that notes what is asked of it."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.calls.append(data)

    def write_eof(self) -> None:
        self.calls.append("eof")

    def close(self) -> None:
        self.calls.append("close")

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 42


async def test_the_writes_of_a_turn_leave_together_and_in_order() -> None:
    wire = Wire()
    transport = GatheringTransport(wire)  # type: ignore[arg-type]
    transport.write(b"a")
    transport.write(b"b")
    assert wire.calls == []
    await asyncio.sleep(0)
    assert wire.calls == [b"ab"]
    transport.write(b"c")
    await asyncio.sleep(0)
    assert wire.calls == [b"ab", b"c"]


async def test_what_waits_goes_before_an_end() -> None:
    wire = Wire()
    transport = GatheringTransport(wire)  # type: ignore[arg-type]
    transport.write(b"a")
    transport.write_eof()
    transport.write(b"b")
    transport.close()
    await asyncio.sleep(0)
    assert wire.calls == [b"a", "eof", b"b", "close"]


async def test_a_socket_that_is_gone_gets_nothing() -> None:
    wire = Wire()
    transport = GatheringTransport(wire)  # type: ignore[arg-type]
    transport.write(b"a")
    wire.closing = True
    await asyncio.sleep(0)
    assert wire.calls == []


async def test_everything_else_is_the_transports_own() -> None:
    assert GatheringTransport(Wire()).get_write_buffer_size() == 42  # type: ignore[arg-type]
