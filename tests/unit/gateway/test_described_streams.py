"""The description of `/v1` has the streams as a gateway serves them."""

from typing import Any

import pytest
from yarl import URL

from processor.api.access import Access, fixed_tokens
from processor.api.openapi import describe
from processor.config.values import ApiToken
from processor.gateway.formats import StreamFormat
from processor.gateway.routes import DEFAULT_LIMIT, MAX_CHANNELS, TAKEN, GatewayPath
from support.served_gateway import Served, serving

STREAMS = [path for path in GatewayPath if path is not GatewayPath.DESCRIPTION]


def parameters(streams: GatewayPath) -> dict[str, dict[str, Any]]:
    """Those of the query."""
    found = describe("1", streams=True)["paths"][streams]["get"]["parameters"]
    return {each["name"]: each for each in found if each["in"] == "query"}


def test_a_server_without_streams_describes_none() -> None:
    assert not set(STREAMS) & describe("1")["paths"].keys()


@pytest.mark.parametrize("streams", STREAMS)
def test_a_stream_is_described_with_the_query_it_takes(streams: GatewayPath) -> None:
    assert parameters(streams).keys() == TAKEN[streams]


@pytest.mark.parametrize("streams", STREAMS)
def test_a_stream_is_described_as_server_sent_events(streams: GatewayPath) -> None:
    responses = describe("1", streams=True)["paths"][streams]["get"]["responses"]
    assert list(responses["200"]["content"]) == ["text/event-stream"]
    assert responses.keys() - {"200", "204", "404"} == {"400", "401", "403", "503"}


def test_the_formats_and_bounds_are_those_of_the_gateway() -> None:
    wanted = parameters(GatewayPath.RESPONSE)["format"]["schema"]
    assert (wanted["enum"], wanted["default"]) == (list(StreamFormat), StreamFormat.TOKENSTREAM)
    assert parameters(GatewayPath.CHANNELS)["channel"]["schema"]["maxItems"] == MAX_CHANNELS
    assert parameters(GatewayPath.CHANNEL)["limit"]["schema"]["default"] == DEFAULT_LIMIT


async def test_a_gateway_without_an_api_describes_what_it_serves() -> None:
    async with serving(Served(alone=True)) as session:
        async with session.get("/v1/openapi.json") as answer:
            assert answer.status == 200
            assert (answer.content_type, answer.headers["Cache-Control"]) == ("application/json", "no-store")
            described = await answer.json()
        assert described["paths"].keys() == set(STREAMS)
        assert described["components"]["schemas"].keys() == {"Error", "ErrorDetail"}
        for path in described["paths"]:
            async with session.head(path.replace("{channel}", "c").replace("{responseId}", "r")) as answer:
                described_statuses = {int(status) for status in described["paths"][path]["get"]["responses"]}
                assert answer.status in described_statuses


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/openapi.json?limit=1", 400),
        ("POST", "/v1/openapi.json", 405),
        ("GET", "/v1/hydrate", 404),
        ("GET", "/v1/channels/a/b/events", 404),
        ("GET", "/v1/channels/%ff/events", 400),
    ],
)
async def test_pages_of_other_origins_see_every_refusal(method: str, path: str, status: int) -> None:
    async with serving(Served(alone=True)) as session:
        url = URL(path, encoded=True)
        async with session.request(method, url, headers={"Origin": "https://app.example"}) as answer:
            assert answer.status == status
            assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
            assert (await answer.json())["error"]["message"]


async def test_the_description_needs_a_credential_where_reading_does() -> None:
    access = Access(open=False, tokens=fixed_tokens(ApiToken("secret-of-the-reader", "chat:*", read_only=True)))
    async with serving(Served(access=access, alone=True)) as session:
        async with session.get("/v1/openapi.json") as answer:
            assert answer.status == 401
        headers = {"Authorization": "Bearer secret-of-the-reader"}
        async with session.get("/v1/openapi.json", headers=headers) as answer:
            assert answer.status == 200
