"""What was published, as an emulator with `admin` has logged it."""

import json
from collections.abc import Mapping, Sequence

from devtools.emulator.wire import Message as WireMessage
from processor.reader.frames import Message

PublishLog = Mapping[str, Sequence[WireMessage]]
"""Messages in order, by channel."""


def headers_of(message: WireMessage) -> Mapping[str, str]:
    found: Mapping[str, str] = (message.extras or {}).get("headers", {})
    return found


def as_received(message: WireMessage) -> Message:
    """Returns a message as a subscriber receives it."""
    data = json.loads(message.data) if message.encoding == "json" else message.data
    headers, name = headers_of(message), message.name or ""
    return Message(name=name, data=data, headers=headers, client_id=message.client_id, id=message.id)


def published_on(log: PublishLog, channel: str) -> list[Message]:
    return [as_received(message) for message in log.get(channel, ())]


def count(log: PublishLog) -> int:
    return sum(len(messages) for messages in log.values())


def stopped(log: PublishLog) -> set[str]:
    """Returns the responses whose stop was published."""
    stops = (message for messages in log.values() for message in messages if message.name == "stop")
    return {headers_of(message).get("responseId", "") for message in stops}
