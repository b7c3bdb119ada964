"""A takeover asks for many histories in one moment: a few at once, and without hope none."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from ably import AblyRest

from devtools.emulator.server import DEFAULT_KEY, LocalRealtime
from processor.ably.ably import HISTORIES_AT_ONCE, HOPELESS, AblyOptions, HistoryReader
from processor.ably.pages import history_pages
from processor.errors import PublishRetry

MANY = 100
WITHIN = 30.0


@pytest.fixture
async def reader(server: LocalRealtime) -> AsyncIterator[HistoryReader]:
    made = HistoryReader(AblyOptions(key=lambda: DEFAULT_KEY, client_id="ts", endpoint=server.endpoint, tls=False))
    yield made
    await made.close()


async def test_every_channel_gets_its_own_history_and_nothing_is_kept_of_it(
    server: LocalRealtime, reader: HistoryReader
) -> None:
    headers = {"responseId": "r", "seq": "3", "seqEnd": "4", "offset": "0"}
    async with AblyRest(
        key=DEFAULT_KEY, use_token_auth=True, endpoint="127.0.0.1", port=server.port, tls=False, client_id="ts"
    ) as client:
        for number in range(5):
            body = {
                "name": "token",
                "data": "text",
                "id": f"{number}",
                "extras": {"headers": headers},
                "clientId": "ts",
            }
            await client.request("POST", f"/channels/c{number}/messages", "3", body=body)
    histories = []
    for first in range(0, MANY, HISTORIES_AT_ONCE):  # a number of which none waits for its turn
        asked = [reader.read(f"c{number}", WITHIN) for number in range(first, first + HISTORIES_AT_ONCE)]
        histories += await asyncio.gather(*asked)
    assert [history.ids for history in histories[:6]] == [*(frozenset({f"{n}"}) for n in range(5)), frozenset()]
    assert histories[0].published["r"].seq_end == 4
    assert reader._client is not None
    assert list(reader._client.channels) == []


async def test_what_waits_for_its_turn_fails_with_those_before_it_and_what_asks_later_is_answered(
    server: LocalRealtime, reader: HistoryReader
) -> None:
    server.faults.add({"history": {"hang": True}})
    results = await asyncio.gather(*(reader.read(f"c{n}", 0.3) for n in range(MANY)), return_exceptions=True)
    assert all(isinstance(result, PublishRetry) for result in results)
    asked = server.faults.listed()[0]["met"]
    assert asked < 2 * HISTORIES_AT_ONCE, "those that waited for their turn did not ask"
    assert HISTORIES_AT_ONCE >= HOPELESS, "the first few decide for all"
    server.faults.clear()
    assert (await reader.read("c1", WITHIN)).ids == frozenset()


async def test_a_channel_whose_history_is_refused_spoils_no_others(
    server: LocalRealtime, reader: HistoryReader
) -> None:
    server.faults.add({"history": {"status": 401, "code": 40160, "channel": "wrong"}})
    for _ in range(3):
        asked = [reader.read("wrong" if n % 2 else f"c{n}", WITHIN) for n in range(HISTORIES_AT_ONCE)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(result, PublishRetry) for result in results] == [
            n % 2 == 1 for n in range(HISTORIES_AT_ONCE)
        ]


NAMES = (
    "team room",
    "team+room",
    "team%20room",
    "team%2Broom",
    "a/b",
    "..",
    ".",
    "x?y#z",
    "100%",
    "日本 👋",
    "a:b",
    "+",
    " ",
)


async def test_a_channels_history_is_its_own_whatever_its_name(server: LocalRealtime, reader: HistoryReader) -> None:
    """A space is not a plus in a path, nor a plus a space."""
    async with AblyRest(
        key=DEFAULT_KEY, use_token_auth=True, endpoint="127.0.0.1", port=server.port, tls=False, client_id="ts"
    ) as client:
        frames = [
            {"id": name, "name": "token", "data": "x", "clientId": "ts", "extras": {"headers": {"responseId": "r"}}}
            for name in NAMES
        ]
        specs = [{"channels": name, "messages": frame} for name, frame in zip(NAMES, frames, strict=True)]
        assert (await client.request("POST", "/messages", "3", body=specs)).success
    for name in NAMES:
        assert (await reader.read(name, WITHIN)).ids == {name}, name


async def test_pages_of_a_channel_with_a_space_follow_each_other(server: LocalRealtime) -> None:
    async with AblyRest(
        key=DEFAULT_KEY, use_token_auth=True, endpoint="127.0.0.1", port=server.port, tls=False, client_id="ts"
    ) as client:
        for number in range(5):
            await client.request("POST", "/messages", "3", body={"channels": "a b", "messages": {"id": str(number)}})
        pages = [[item["id"] for item in page] async for page in history_pages(client, "a b", 2)]
    assert pages == [["4", "3"], ["2", "1"], ["0"]]
