"""Raw paths to routes."""

import pytest

from processor.api.routes import find_route
from processor.telemetry.answers import ApiError


@pytest.mark.parametrize(
    ("path", "argument"),
    [
        ("/v1/responses/r-1?x=/", "r-1"),
        ("/v1/responses/a%2Fb", "a/b"),
        ("/v1/responses/%2E%2E", ".."),
        ("/v1/responses/..", ".."),
        ("/v1/responses/%252f", "%2f"),
        ("/v1/responses/a+b", "a+b"),
        ("/v1/channels/a%0Ab%3F/responses", "a\nb?"),
        ("/v1/channels/%F0%9F%98%80/hydrate", "😀"),
    ],
)
def test_a_segment_holds_anything(path: str, argument: str) -> None:
    assert find_route(path).argument == argument


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/", "/v1/responses/", "/v1/responses/a/b", "/v1/channels//responses", "/v2/x"]
)
def test_no_other_path_is_served(path: str) -> None:
    with pytest.raises(ApiError) as told:
        find_route(path)
    assert told.value.status == 404


def test_what_is_no_utf_8_is_a_bad_request() -> None:
    with pytest.raises(ApiError) as told:
        find_route("/v1/responses/%ff")
    assert told.value.status == 400
