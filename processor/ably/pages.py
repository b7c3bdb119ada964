"""Reads a channel's history over REST, page by page.

The SDK's own channels are not used: they write a space in a channel's name as `+`, which in a path is a plus (RFC
3986).
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

from ably import AblyRest
from ably.transport.defaults import Defaults
from ably.util.exceptions import AblyException

from processor.ably.answers import read_error


def path_of(channel: str) -> str:
    """Returns the path of a channel's messages."""
    name = quote(channel, safe=":")
    if name in {".", ".."}:
        name = name.replace(".", "%2E")  # else it is a step up
    return f"/channels/{name}/messages"


async def history_pages(client: AblyRest, channel: str, limit: int) -> AsyncIterator[list[Mapping[str, Any]]]:
    """Yields the messages of a page as they were sent, newest first. Skips what is not a message.

    Raises AblyException for a refusal, and any exception of the SDK if the answer is unreadable.
    """
    page = await client.request("GET", path_of(channel), str(Defaults.protocol_version), params={"limit": str(limit)})
    while page is not None:
        if not 200 <= page.status_code < 300:
            refusal = read_error(page.items, page.status_code)
            raise AblyException(str(refusal) or "the history is refused", page.status_code, refusal.code)
        yield [item for item in page.items if isinstance(item, Mapping)]
        page = await page.next()
