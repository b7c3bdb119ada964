"""Maps a request to one of the gateway's streams. Channel names and ids are one percent-encoded segment each, as in
the api.
"""

from dataclasses import dataclass
from enum import StrEnum

from multidict import MultiMapping

from processor.api.errors import bad_request, not_found
from processor.api.query import check_names, limit
from processor.api.routes import decoded, segments
from processor.gateway.formats import StreamFormat

MAX_CHANNELS = 100
MAX_NAME_BYTES = 1024
DEFAULT_LIMIT = 20


class GatewayPath(StrEnum):
    """All but the description are streams."""

    DESCRIPTION = "/v1/openapi.json"
    CHANNEL = "/v1/channels/{channel}/events"
    CHANNELS = "/v1/events"
    RESPONSE = "/v1/responses/{responseId}/events"


TAKEN = {
    GatewayPath.DESCRIPTION: frozenset[str](),
    GatewayPath.CHANNEL: frozenset({"limit", "access_token"}),
    GatewayPath.CHANNELS: frozenset({"channel", "limit", "access_token"}),
    GatewayPath.RESPONSE: frozenset({"format", "access_token"}),
}


@dataclass(frozen=True, slots=True)
class StreamRoute:
    """`argument` is the decoded segment; empty where the path has none."""

    path: GatewayPath
    argument: str = ""

    @property
    def methods(self) -> tuple[str, ...]:
        return ("GET", "HEAD")


def find_stream(target: str, *, alone: bool) -> StreamRoute | None:
    """Returns None for a path that the api in the same process may serve; a gateway that is `alone` has no such api.

    Raises ApiError 404 for an unknown path, 400 for one that is not UTF-8.
    """
    match segments(target):
        case ["", "v1", "openapi.json"] if alone:
            return StreamRoute(GatewayPath.DESCRIPTION)
        case ["", "v1", "events"]:
            return StreamRoute(GatewayPath.CHANNELS)
        case ["", "v1", "channels", channel, "events"] if channel:
            return StreamRoute(GatewayPath.CHANNEL, decoded(channel))
        case ["", "v1", "responses", response_id, "events"] if response_id:
            return StreamRoute(GatewayPath.RESPONSE, decoded(response_id))
        case _ if alone:
            raise not_found("There is no such path. /v1/openapi.json lists them.")
        case _:
            return None


@dataclass(frozen=True, slots=True)
class StreamQuery:
    channels: frozenset[str]
    limit: int
    format: StreamFormat


def read_query(route: StreamRoute, query: MultiMapping[str]) -> StreamQuery:
    """Raises ApiError 400."""
    check_names(query, TAKEN[route.path])
    channels = frozenset(query.getall("channel", []) if route.path is GatewayPath.CHANNELS else [route.argument])
    if route.path is GatewayPath.CHANNELS and (not channels or "" in channels or len(channels) > MAX_CHANNELS):
        raise bad_request(f"Give 1 to {MAX_CHANNELS} channels, each as `channel=` with its name percent-encoded.")
    if any(len(channel.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES for channel in channels):
        raise bad_request(f"A name may have {MAX_NAME_BYTES} bytes.")
    try:
        wanted = StreamFormat(query.get("format", StreamFormat.TOKENSTREAM))
    except ValueError:
        raise bad_request(f"`format` must be one of {', '.join(StreamFormat)}.") from None
    return StreamQuery(channels, limit(query, default=DEFAULT_LIMIT, least=0), wanted)
