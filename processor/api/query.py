"""Checks the query of a request. Every function raises ApiError 400 with the mistake."""

from collections.abc import Set as AbstractSet

from multidict import MultiMapping

from processor.api.errors import bad_request
from processor.api.responses import MAX_LIMIT, Listing
from topics.records import Status

Query = MultiMapping[str]


def check_names(query: Query, known: AbstractSet[str]) -> None:
    """Names the parameters only, never a value: it may hold a credential."""
    unknown = sorted(set(query) - known)
    if unknown:
        takes = f"It takes {', '.join(sorted(known))}." if known else "It takes none."
        raise bad_request(f"This path does not take the query parameter `{unknown[0][:64]}`. {takes}")


def channel_of(query: Query) -> str:
    given = query.getall("channel", [])
    if len(given) != 1 or not given[0]:
        raise bad_request("Give the channel's name once, percent-encoded, as `?channel=`.")
    return given[0]


def listing(query: Query) -> Listing:
    return Listing(
        limit=limit(query, default=50, least=1),
        before=query.get("before"),
        status=_statuses(query),
        fields=_names(query, "fields"),
    )


def limit(query: Query, *, default: int, least: int) -> int:
    text = query.get("limit")
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10) or not least <= int(text) <= MAX_LIMIT:
        raise bad_request(f"`limit` must be a whole number from {least} to {MAX_LIMIT}.")
    return int(text)


def _names(query: Query, name: str) -> frozenset[str] | None:
    """Returns the values of `a,b` or of a repeated parameter. Returns None, which is no restriction, if it is absent
    or empty.
    """
    names = {part.strip() for text in query.getall(name, []) for part in text.split(",")} - {""}
    return frozenset(names) or None


def _statuses(query: Query) -> frozenset[Status] | None:
    names = _names(query, "status")
    try:
        return None if names is None else frozenset(Status(name) for name in names)
    except ValueError:
        raise bad_request(f"`status` must be of {', '.join(Status)}, with commas between.") from None
