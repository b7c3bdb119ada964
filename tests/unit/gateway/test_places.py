"""The memory that snapshots take on their way to readers is bounded, and no reader keeps others from theirs."""

import gc
from collections.abc import Iterator

import aiohttp
import pytest

from devtools.event_readers import read_events
from processor.gateway.places import PATIENCE, Once, SnapshotPlace, SnapshotPlaces
from processor.gateway.snapshots import FirstPage
from processor.gateway.transcripts import ResponseSnapshot
from support.gateway_log import record_value, start, token
from support.gateway_readers import Connection, Gateway
from support.served_gateway import Served, serving
from support.waiting import until

LATER = 1e9


def gateway_with_an_answer() -> Gateway:
    gateway = Gateway(places_count=1)
    gateway.store.put(record_value("done", "text", status="complete"))
    return gateway


async def test_a_reader_waits_until_another_one_has_taken_its_snapshots() -> None:
    gateway = gateway_with_an_answer()
    async with Connection(gateway, "chat:1") as slow:
        slow.wire.full = True
        await until(lambda: slow.names() == ["snapshot"])
        async with Connection(gateway, "chat:1") as other:
            await until(lambda: gateway.places.waiting == 1)
            assert other.names() == []
            slow.wire.full = False
            await until(lambda: other.names() == ["snapshot", "ready"])
        assert slow.names() == ["snapshot", "ready"]


async def test_a_reader_that_takes_no_snapshot_gives_way_to_one_that_waits() -> None:
    gateway = gateway_with_an_answer()

    async def play() -> None:
        async with Connection(gateway, "chat:1") as slow:
            slow.wire.full = True
            await until(lambda: slow.names() == ["snapshot"])
            gateway.places.relieve(LATER)
            assert not slow.wire.aborted, "nobody waits for its place"
            async with Connection(gateway, "chat:1") as other:
                await until(lambda: gateway.places.waiting == 1)
                gateway.places.relieve(gateway.parts.clock.monotonic())
                assert not slow.wire.aborted, "it has not had much time"
                gateway.places.relieve(gateway.parts.clock.monotonic() + PATIENCE + 1)
                assert slow.wire.aborted
                await until(lambda: other.names() == ["snapshot", "ready"])

    with pytest.raises(ConnectionResetError):
        await play()


async def test_a_reader_that_is_live_holds_no_place() -> None:
    gateway = gateway_with_an_answer()
    gateway.hub.take_frames([], 5_000)
    async with Connection(gateway, "chat:1") as live:
        await until(lambda: live.names() == ["snapshot", "ready"])
        live.wire.full = True
        async with Connection(gateway, "chat:1") as other:
            await until(lambda: other.names() == ["snapshot", "ready"])


async def test_the_slowest_give_way_and_no_more_than_wait() -> None:
    places = SnapshotPlaces(2)
    left: list[str] = []
    holders = {name: SnapshotPlace(places) for name in ("first", "second")}
    for number, (name, place) in enumerate(holders.items()):
        await place.take()
        place.sending = float(number)
        place.leave = lambda name=name: left.append(name)  # type: ignore[misc]
    places.waiting = 1
    places.relieve(PATIENCE + 5)
    assert left == ["first"]


async def test_a_place_is_taken_once_and_given_back_once() -> None:
    places = SnapshotPlaces(1)
    place, other = SnapshotPlace(places), SnapshotPlace(places)
    await place.take()
    await place.take()
    place.give_back()
    place.give_back()
    await other.take()
    assert places.turns.locked()


def test_a_value_is_given_away_once() -> None:
    once = Once("page")
    assert once.take() == "page"
    with pytest.raises(AssertionError):
        once.take()


@pytest.fixture
def only_new_objects() -> Iterator[None]:
    """The collector visits no object that is older than the test, which takes most of its time."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("only_new_objects")
@pytest.mark.parametrize(
    "path", ["/v1/channels/chat%3A1/events", "/v1/responses/open/events", "/v1/responses/open/events?format=openai"]
)
async def test_a_stream_that_is_live_keeps_no_record_in_memory(path: str) -> None:
    served = Served()
    served.store.put(record_value("done", "text", status="complete"))
    served.publish(start("open"), token(1, 0, "Hel", "open"))
    async with serving(served) as session, session.get(path) as answer:
        await read_until(answer, b"Hel")
        await until(lambda: records_in_memory() == 0)
        served.publish(token(2, 3, "lo", "open"))
        assert b"lo" in await read_until(answer, b'lo"')


def records_in_memory() -> int:
    gc.collect()
    return sum(isinstance(each, FirstPage | ResponseSnapshot) for each in gc.get_objects())


async def read_until(answer: aiohttp.ClientResponse, text: bytes) -> bytes:
    written = b""
    while text not in written:
        piece = await answer.content.readany()
        assert piece, f"the stream ended after {read_events(written)}"
        written += piece
    return written
