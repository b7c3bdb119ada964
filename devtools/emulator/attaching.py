"""Attaches a channel: from where its messages follow, and with which rights. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from devtools.emulator import wire
from devtools.emulator.auth import Grant, Refused, refuse
from devtools.emulator.channels import Channel, Channels, Entry, Subscription, routed_name, split_qualifier
from devtools.emulator.connections import Connection, detach
from devtools.emulator.effects import Effect, Send
from devtools.emulator.wire import Action, Flag, ProtocolMessage

MAX_REWIND = 100
_MODES = {
    "presence": Flag.PRESENCE,
    "publish": Flag.PUBLISH,
    "subscribe": Flag.SUBSCRIBE,
    "presence_subscribe": Flag.PRESENCE_SUBSCRIBE,
}
_OPERATIONS = {
    Flag.PUBLISH: "publish",
    Flag.SUBSCRIBE: "subscribe",
    Flag.PRESENCE: "presence",
    Flag.PRESENCE_SUBSCRIBE: "subscribe",
}


@dataclass(slots=True)
class Start:
    """Where an attachment begins: just after `position`, with `backlog` first."""

    position: str
    backlog: list[Entry]
    resumed: bool = False
    error: wire.ErrorInfo | None = None


def attach(channels: Channels, connection: Connection, link: int, message: ProtocolMessage, now: float) -> list[Effect]:
    """ATTACHED and the backlog, or ERROR for the channel. Attaching again keeps what is there, and its continuity."""
    name = message.channel or ""
    qualified = split_qualifier(name)[1]
    params = {key: str(value) for key, value in {**qualified, **(message.params or {})}.items()}
    recognised = {key: value for key, value in params.items() if key in ("rewind", "rewindLimit", "modes")}
    try:
        routed = routed_name(name)
        modes = permitted_modes(connection.grant, routed, _asked_modes(params, message.flags or 0))
        channel = channels.get(routed)
        channel.last_used = now
        present = connection.attached.get(name)
        if present is not None:
            start = Start(channels.serials.latest(), [], resumed=True)
        else:
            # What continues an attachment has had what there was to rewind to.
            fresh = not (message.flags or 0) & Flag.ATTACH_RESUME
            start = _start(channels, channel, connection, message.channel_serial, recognised if fresh else {}, now=now)
    except Refused as refused:
        detach(channels, connection, name)
        return [Send(link, ProtocolMessage(action=Action.ERROR, channel=name, error=refused.info))]
    subscription = present or Subscription(link, connection.id, name, modes, connection.echo, start.position)
    subscription.mode_flags = modes
    backlog = channel.replay(iter(start.backlog), subscription) if modes & Flag.SUBSCRIBE else []
    flags = modes | (Flag.RESUMED if start.resumed else 0) | (Flag.HAS_BACKLOG if backlog else 0)
    connection.attached[name] = channel.subscriptions[(link, name)] = subscription
    answer = ProtocolMessage(
        action=Action.ATTACHED,
        channel=name,
        channel_serial=start.position,
        flags=flags,
        params=recognised or None,
        error=start.error,
    )
    return [Send(link, answer), *(Send(link, frame) for frame in backlog)]


def _start(
    channels: Channels,
    channel: Channel,
    connection: Connection,
    asked: str | None,
    params: dict[str, str],
    *,
    now: float,
) -> Start:
    latest = channels.serials.latest()
    if asked is not None and connection.continuity_lost:
        return Start(latest, [], error=wire.error(80018, "Unable to resume channel: the connection was not resumed"))
    if asked is not None and channels.serials.made(asked) and asked >= channel.floor:
        return Start(asked, list(channel.after(asked)), resumed=True)
    if asked is not None:
        return Start(channel.floor or _before_all(channels), list(channel.entries), error=wire.error(90003))
    if "rewind" not in params:
        return Start(latest, [])
    backlog = channel.rewind(params["rewind"], _rewind_limit(params), now)
    return Start(_before(backlog, channel, channels) if backlog else latest, backlog)


def _rewind_limit(params: dict[str, str]) -> int:
    text = params.get("rewindLimit", str(MAX_REWIND))
    if not text.isdecimal():
        raise refuse(40000, f"Unable to parse rewindLimit {text!r}; use a number of messages")
    return min(int(text), MAX_REWIND)


def _before(backlog: list[Entry], channel: Channel, channels: Channels) -> str:
    """The position just before the backlog's first entry."""
    position = channel.floor or _before_all(channels)
    for entry in channel.entries:
        if entry is backlog[0]:
            break
        position = entry.position
    return position


def _before_all(channels: Channels) -> str:
    return f"{0:014d}-000@{channels.serials.series}"


def _asked_modes(params: dict[str, str], flags: int) -> int:
    """The parameter outdoes the flags. Raises Refused 40000."""
    if "modes" not in params:
        return flags
    modes = 0
    for name in params["modes"].split(","):
        mode = _MODES.get(name.strip().lower())
        if mode is None:
            raise refuse(40000, f"Unable to parse mode {name!r}; there are {', '.join(_MODES)}")
        modes |= mode
    return modes


def permitted_modes(grant: Grant, channel: str, flags: int) -> int:
    """The modes asked for (all, when none is) that the credential allows. Raises Refused 40160 when none is left."""
    asked = flags & wire.ALL_MODES or wire.ALL_MODES
    modes = 0
    for mode, operation in _OPERATIONS.items():
        if asked & mode and grant.allows(operation, channel):
            modes |= mode
    if not modes:
        raise refuse(40160, f"Channel denied access based on given capability; channelId = {channel}")
    return modes


def reattached(channels: Channels, connection: Connection, names: Iterable[str], error: wire.ErrorInfo) -> list[Effect]:
    """A further ATTACHED without RESUMED on these channels: continuity is lost."""
    if connection.link is None:
        return []
    position = channels.serials.latest()
    return [
        Send(
            connection.link,
            ProtocolMessage(
                action=Action.ATTACHED,
                channel=name,
                channel_serial=position,
                flags=connection.attached[name].mode_flags,
                error=error,
            ),
        )
        for name in names
        if name in connection.attached
    ]
