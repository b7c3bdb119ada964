"""The description of `/v1` has the streams as a gateway serves them."""

from typing import Any

import pytest

from processor.api.openapi import describe
from processor.gateway.formats import StreamFormat
from processor.gateway.routes import DEFAULT_LIMIT, MAX_CHANNELS, TAKEN, Streams


def parameters(streams: Streams) -> dict[str, dict[str, Any]]:
    """Those of the query."""
    found = describe("1", streams=True)["paths"][streams]["get"]["parameters"]
    return {each["name"]: each for each in found if each["in"] == "query"}


def test_a_server_without_streams_describes_none() -> None:
    assert not set(Streams) & describe("1")["paths"].keys()


@pytest.mark.parametrize("streams", Streams)
def test_a_stream_is_described_with_the_query_it_takes(streams: Streams) -> None:
    assert parameters(streams).keys() == TAKEN[streams]


@pytest.mark.parametrize("streams", Streams)
def test_a_stream_is_described_as_server_sent_events(streams: Streams) -> None:
    responses = describe("1", streams=True)["paths"][streams]["get"]["responses"]
    assert list(responses["200"]["content"]) == ["text/event-stream"]
    assert {"400", "401", "403", "503"} <= responses.keys()


def test_the_formats_and_bounds_are_those_of_the_gateway() -> None:
    wanted = parameters(Streams.RESPONSE)["format"]["schema"]
    assert (wanted["enum"], wanted["default"]) == (list(StreamFormat), StreamFormat.TOKENSTREAM)
    assert parameters(Streams.CHANNELS)["channel"]["schema"]["maxItems"] == MAX_CHANNELS
    assert parameters(Streams.CHANNEL)["limit"]["schema"]["default"] == DEFAULT_LIMIT
