"""`POST /messages` of the local server, asked by the unmodified Python SDK; and what the relay reads from its answers."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from ably import AblyRest

from devtools.emulator.server import DEFAULT_KEY, LocalRealtime
from processor.ably.answers import read_error, read_results
from processor.ably.refusals import Refusal
from processor.errors import PublishRetry


@pytest.fixture
async def rest(server: LocalRealtime) -> AsyncIterator[AblyRest]:
    async with AblyRest(
        key=DEFAULT_KEY, use_token_auth=True, endpoint="127.0.0.1", port=server.port, tls=False
    ) as client:
        yield client


def spec(channel: str | list[str], *ids: str, data: str = "x") -> dict[str, Any]:
    return {"channels": channel, "messages": [{"id": one, "name": "token", "data": data} for one in ids]}


async def publish(rest: AblyRest, specs: object, version: str = "3") -> tuple[int, list[Any]]:
    answer = await rest.request("POST", "/messages", version, body=specs)
    return answer.status_code, answer.items


async def test_each_spec_has_its_own_result_and_a_repeated_id_is_not_delivered_again(
    server: LocalRealtime, rest: AblyRest
) -> None:
    specs = [spec("a", "1"), spec("b", "2"), spec("a", "1"), spec(["c", "d"], "3")]
    status, items = await publish(rest, specs)
    assert status == 201
    assert [item["successCount"] for item in items] == [1, 1, 1, 2]
    assert read_results(items[:3], status, ["a", "b", "a"]) == [None, None, None]
    assert {channel: [message.id for message in log] for channel, log in server.log.items()} == {
        "a": ["1"],
        "b": ["2"],
        "c": ["3"],
        "d": ["3"],
    }


@pytest.mark.parametrize(("version", "status"), [("3", 201), ("2", 400)])
async def test_one_that_is_refused_leaves_the_others(
    server: LocalRealtime, rest: AblyRest, version: str, status: int
) -> None:
    server.faults.add({"nack": {"code": 42913, "channel": "^b$"}})
    got, items = await publish(rest, [spec("a", "1"), spec("b", "2"), spec("c", "3", data="x" * 70_000)], version)
    results = read_results(items, got, ["a", "b", "c"])
    assert got == status
    assert results is not None
    assert results[0] is None
    assert [result.code for result in results[1:] if isinstance(result, Refusal)] == [42913, 40009]
    assert list(server.log) == ["a"]


async def test_a_batch_is_refused_as_a_whole_for_its_rights_its_shape_and_its_channels(
    server: LocalRealtime, rest: AblyRest
) -> None:
    for specs, code in (({"channels": "a"}, 40000), ([spec(f"c{n}", "1") for n in range(101)], 40000)):
        status, items = await publish(rest, specs)
        assert status == 400
        assert read_results(items, status, ["a"]) is None
        assert read_error(items, status).code == code
    stranger = AblyRest(token="nonsense", endpoint="127.0.0.1", port=server.port, tls=False)
    status, items = await publish(stranger, [spec("a", "1")])
    await stranger.close()
    assert (status, read_results(items, status, ["a"])) == (401, None)
    assert not server.log


@pytest.mark.parametrize("items", [[], [{"channel": "b", "messageId": "1"}], ["?"], [{"results": []}]])
def test_an_answer_that_tells_nothing_of_the_channel_determines_nothing(items: list[Any]) -> None:
    results = read_results(items, 200, ["a"])
    assert results is not None
    assert [type(result) for result in results] == [PublishRetry]
