"""Accepts publishes: rights, sizes, ids, positions, and recipients. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from devtools.emulator import wire
from devtools.emulator.auth import Grant, refuse
from devtools.emulator.channels import Channel, Channels, Entry, Subscription, frame, routed_name
from devtools.emulator.connections import Connection
from devtools.emulator.effects import Fanout
from devtools.emulator.serials import position_of
from devtools.emulator.wire import Flag, Message, MessageAction, Version

UNMEASURED = wire.MAX_MESSAGE_SIZE // 6
"""A frame this small can't hold a publish over the limit: JSON needs six bytes for one at most."""
MAX_MESSAGES = 1000
_CHANGES = (MessageAction.UPDATE, MessageAction.DELETE, MessageAction.APPEND)


@dataclass(frozen=True, slots=True)
class Result:
    """`entry` is None for a duplicate."""

    serials: tuple[str, ...]
    fanouts: list[Fanout]
    entry: Entry | None
    id: str


class Publishing:
    """`log`, if given, is called with every accepted message, as it was published."""

    def __init__(self, channels: Channels, epoch: float, log: Callable[[str, Entry], None] | None = None) -> None:
        self.channels = channels
        self.epoch = epoch
        self._log = log

    def publish(
        self,
        name: str,
        messages: list[Message],
        grant: Grant,
        now: float,
        *,
        connection: Connection | None,
        fallback: str,
        size: int,
    ) -> Result:
        """Accepts all of the messages or none. Raises Refused. `fallback` is the id of a publish that has none;
        `size` its bytes on the wire.
        """
        routed = routed_name(name)
        if not messages:
            raise refuse(40000, "A publish needs at least one message")
        grant.require("publish", routed)
        if connection is not None and (attached := connection.attached.get(name)) is not None:
            _require_mode(attached)
        if len(messages) > MAX_MESSAGES:
            raise refuse(40034, f"A publish holds {MAX_MESSAGES} messages at most")
        if size > UNMEASURED and wire.message_size(messages) > wire.MAX_MESSAGE_SIZE:
            raise refuse(40009)
        bound = connection.client_id if connection is not None else grant.client_id
        _settle_client_ids(messages, grant, bound)
        base = base_id(messages)
        key = base or fallback
        serials = self.channels.seen(routed, key, now)
        if serials is not None:
            return Result(serials, [], None, key)
        channel = self.channels.get(routed)
        channel.last_used = now
        entry = self._entry(channel, messages, key, connection, now=now, size=size)
        serials = self._serials(entry)
        self.channels.remember(routed, key, serials, now)
        if self._log is not None:
            self._log(routed, entry)
        fanouts = self._deliver(channel, entry, connection)
        if entry.target is not None or not is_ephemeral(messages[0]):
            self.channels.store(channel, entry)
        return Result(serials, fanouts, entry, key)

    def _entry(
        self,
        channel: Channel,
        messages: list[Message],
        key: str,
        connection: Connection | None,
        *,
        now: float,
        size: int,
    ) -> Entry:
        ms = int((self.epoch + now) * 1000)
        first = messages[0].action
        entry = Entry("", now, key, connection.id if connection is not None else None, ms, messages, size=size)
        if first in _CHANGES:
            return self._change(channel, entry, messages)
        if any(message.action in _CHANGES for message in messages):
            raise refuse(40000, "An update, append or delete is published alone")
        entry.position = self.channels.serials.next(ms)
        for index, message in enumerate(messages):
            message.action = MessageAction.CREATE
            message.serial = f"{entry.position}:{index:03d}"
            message.version = Version(serial=message.serial, timestamp=ms)
            message.timestamp = ms
        return entry

    def _change(self, channel: Channel, entry: Entry, messages: list[Message]) -> Entry:
        """Changes the message where it was created. The entry keeps what was sent; its `target` is now whole."""
        sent = messages[0]
        found = channel.find(sent.serial or "")
        if found is None or len(messages) != 1:
            raise refuse(40400, f"No message with serial {sent.serial!r} on channel {channel.name}, or not alone")
        created, index = found
        target = created.messages[index]
        entry.position = self.channels.serials.next(entry.timestamp)
        given = sent.version if isinstance(sent.version, Version) else Version()
        version = msgspec.structs.replace(given, serial=f"{entry.position}:000", timestamp=entry.timestamp)
        entry.target = sent.serial
        sent.version, sent.timestamp = version, target.timestamp
        changed = msgspec.structs.replace(
            target,
            name=sent.name if sent.name is not None else target.name,
            extras=sent.extras if sent.extras is not None else target.extras,
            data=_combined(target, sent),
            encoding=sent.encoding
            if sent.action == MessageAction.UPDATE and sent.data is not None
            else target.encoding,
            action=MessageAction.DELETE if sent.action == MessageAction.DELETE else MessageAction.UPDATE,
            version=version,
        )
        if sent.action == MessageAction.APPEND:
            sent.name = changed.name
        else:
            entry.before, entry.after = target, changed
        created.messages = [*created.messages[:index], changed, *created.messages[index + 1 :]]
        return entry

    def _serials(self, entry: Entry) -> tuple[str, ...]:
        if entry.target is not None:
            return (f"{entry.position}:000",)
        return tuple(message.serial or "" for message in entry.messages)

    def _deliver(self, channel: Channel, entry: Entry, publisher: Connection | None) -> list[Fanout]:
        """Links that hear the same go into one fanout: same channel name, same form of an append."""
        if not channel.subscriptions:
            return []
        groups: dict[tuple[str, bool], list[int]] = {}
        for subscription in channel.subscriptions.values():
            if not subscription.mode_flags & Flag.SUBSCRIBE:
                continue
            if publisher is not None and not subscription.echo and subscription.connection_id == publisher.id:
                continue
            whole = entry.target is not None and self._wants_whole(subscription, entry)
            groups.setdefault((subscription.name, whole), []).append(subscription.link)
        target = channel.find(entry.target) if entry.target is not None else None
        whole_messages = [target[0].messages[target[1]]] if target is not None else entry.messages
        return [
            Fanout(tuple(links), frame(entry, whole_messages if whole else entry.messages, name))
            for (name, whole), links in groups.items()
        ]

    def _wants_whole(self, subscription: Subscription, entry: Entry) -> bool:
        """Returns appends unchanged if the attachment has seen the message that they append to; else the whole message."""
        assert entry.target is not None
        known = entry.target in subscription.seen or position_of(entry.target) > subscription.since
        subscription.seen.add(entry.target)
        return not known or entry.messages[0].action != MessageAction.APPEND


def _require_mode(attached: Subscription) -> None:
    """Raises Refused 40160."""
    if not attached.mode_flags & Flag.PUBLISH:
        raise refuse(40160, "The channel is attached without the publish mode")


def _combined(target: Message, sent: Message) -> Any:
    if sent.action == MessageAction.APPEND:
        both = (target.data, sent.data)
        if all(isinstance(data, str) for data in both) or all(isinstance(data, bytes) for data in both):
            return target.data + sent.data
        raise refuse(40000, "An append's data must be of the message's own type, string or binary")
    if sent.action == MessageAction.DELETE:
        return sent.data
    return sent.data if sent.data is not None else target.data


def base_id(messages: list[Message]) -> str | None:
    """The id a publish is known by: the message's own; of an array the part its ids share. Raises Refused 40031."""
    if len(messages) == 1:
        return messages[0].id
    if all(message.id is None for message in messages):
        return None
    base = (messages[0].id or "").rpartition(":")[0]
    if not base or any(message.id != f"{base}:{index}" for index, message in enumerate(messages)):
        raise refuse(40031, "Invalid publish request: ids of an array must be <base>:0, <base>:1 and so on")
    return base


def is_ephemeral(message: Message) -> bool:
    return isinstance(message.extras, dict) and message.extras.get("ephemeral") is True


def _settle_client_ids(messages: list[Message], grant: Grant, bound: str | None) -> None:
    """Fills in the client id a connection is bound to. Raises Refused 40012 for another one."""
    free = grant.client_id == "*" or (grant.is_key and bound is None)
    for message in messages:
        if message.client_id is None:
            message.client_id = bound
        elif message.client_id != bound and not free:
            raise refuse(40012, "Invalid clientId: it differs from the connection's own")
