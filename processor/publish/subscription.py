"""Following a channel by the Ably SDK, for `tail` and for checks: messages as they arrive, and what history has of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from ably import AblyRealtime, AblyRest

from processor.errors import PublishRetry
from processor.publish.ably import AblyOptions
from processor.received import Message

ATTACH_DEADLINE = 15.0
HISTORY_DEADLINE = 15.0
PAGE = 1_000


@contextlib.asynccontextmanager
async def subscribed(options: AblyOptions, channel: str) -> AsyncIterator["asyncio.Queue[Message]"]:
    """The queue that the channel's messages arrive in, from the moment this is entered; unbounded, so read it.

    What is published while the connection is down may be missing: a `Reader` tells, and `past_messages` has it.
    Raises PublishRetry when the channel can't be attached in time.
    """
    client = AblyRealtime(**options.realtime())
    arrived: asyncio.Queue[Message] = asyncio.Queue()
    try:
        try:
            async with asyncio.timeout(ATTACH_DEADLINE):
                await client.channels.get(channel).subscribe(lambda message: arrived.put_nowait(_received(message)))
        except Exception as error:
            raise PublishRetry(f"channel {channel} could not be attached ({type(error).__name__}: {error})") from error
        yield arrived
    finally:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(ATTACH_DEADLINE):
                await client.close()


async def past_messages(options: AblyOptions, channel: str) -> list[Message]:
    """All that the channel's history holds, oldest first. Raises PublishRetry when it can't be read."""
    messages: list[Message] = []
    try:
        async with asyncio.timeout(HISTORY_DEADLINE), AblyRest(**options.rest()) as rest:
            page = await rest.channels.get(channel).history(limit=PAGE)
            while True:
                messages += [_received(item) for item in page.items]
                if not page.has_next():
                    return messages[::-1]
                page = await page.next()
    except Exception as error:
        raise PublishRetry(f"the history of channel {channel} could not be read ({type(error).__name__})") from error


def _received(message: Any) -> Message:
    extras = message.extras if isinstance(message.extras, dict) else {}
    headers = {str(name): str(value) for name, value in (extras.get("headers") or {}).items()}
    return Message(
        name=message.name or "", data=message.data, headers=headers, client_id=message.client_id, id=message.id
    )
