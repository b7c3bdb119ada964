"""Maps raw paths to routes.

Ids and channel names are one percent-encoded segment each, and may contain anything, including `%2F` and `%2E%2E`.
So a path is split here before anything decodes or normalizes it.
Behind a proxy that decodes paths, the channel is given as `?channel=` instead.
"""

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote_to_bytes

from processor.api.errors import bad_request, not_found


class Serves(StrEnum):
    """What a route answers."""

    DESCRIPTION = "description"
    RESPONSE = "response"
    CANCEL = "cancel"
    LISTING = "listing"
    HYDRATION = "hydration"


PARAMETERS = {
    Serves.DESCRIPTION: frozenset[str](),
    Serves.RESPONSE: frozenset[str](),
    Serves.CANCEL: frozenset[str](),
    Serves.LISTING: frozenset({"limit", "before", "status", "fields"}),
    Serves.HYDRATION: frozenset({"limit", "before"}),
}
"""The query parameters each takes. Any other is a bad request: a misspelt one would be ignored in silence."""


@dataclass(frozen=True, slots=True)
class Route:
    """`template` is the metric's label. `argument` is the decoded segment; None where `?channel=` gives it."""

    template: str
    serves: Serves
    argument: str | None = ""

    @property
    def methods(self) -> tuple[str, ...]:
        if self.serves is Serves.CANCEL:
            return ("POST",)
        return ("GET", "DELETE", "HEAD") if self.serves is Serves.RESPONSE else ("GET", "HEAD")

    @property
    def parameters(self) -> frozenset[str]:
        taken = PARAMETERS[self.serves]
        return taken if self.argument is not None else taken | {"channel"}


def find_route(target: str) -> Route:
    """Raises ApiError 404 for an unknown path, 400 for one that is not UTF-8."""
    match segments(target):
        case ["", "v1", "openapi.json"]:
            return Route("/v1/openapi.json", Serves.DESCRIPTION)
        case ["", "v1", "responses", response_id] if response_id:
            return Route("/v1/responses/{responseId}", Serves.RESPONSE, decoded(response_id))
        case ["", "v1", "responses", response_id, "cancel"] if response_id:
            return Route("/v1/responses/{responseId}/cancel", Serves.CANCEL, decoded(response_id))
        case ["", "v1", "channels", channel, "responses"] if channel:
            return Route("/v1/channels/{channel}/responses", Serves.LISTING, decoded(channel))
        case ["", "v1", "channels", channel, "hydrate"] if channel:
            return Route("/v1/channels/{channel}/hydrate", Serves.HYDRATION, decoded(channel))
        case ["", "v1", "responses"]:
            return Route("/v1/responses", Serves.LISTING, None)
        case ["", "v1", "hydrate"]:
            return Route("/v1/hydrate", Serves.HYDRATION, None)
        case _:
            raise not_found("There is no such path. /v1/openapi.json lists them.")


def segments(target: str) -> list[str]:
    """The segments of a target's path, still percent-encoded."""
    return _origin_form(target).split("?", 1)[0].split("#", 1)[0].split("/")


def authority(target: str) -> str | None:
    """The `host:port` of a target in absolute form, as proxies are asked; it has precedence over `Host`."""
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        return None
    return rest.split("/", 1)[0].rpartition("@")[2]


def _origin_form(target: str) -> str:
    if authority(target) is None:
        return target
    _, slash, path = target.partition("://")[2].partition("/")
    return slash + path


def decoded(segment: str) -> str:
    try:
        return unquote_to_bytes(segment.encode("utf-8", "surrogateescape")).decode()
    except UnicodeError:
        raise bad_request("The path is not percent-encoded UTF-8.") from None
