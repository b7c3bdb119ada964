"""The effects of a fault on one connection. Pure."""

from devtools.emulator import faults
from devtools.emulator.attaching import reattached
from devtools.emulator.channels import Channels
from devtools.emulator.connections import Connection, Connections, detach
from devtools.emulator.effects import Close, Effect, Freeze, Send
from devtools.emulator.wire import Action, ProtocolMessage


def inject(
    rule: faults.Injection, connection: Connection, connections: Connections, channels: Channels, now: float
) -> list[Effect]:
    """Nothing happens to a connection that has no socket."""
    link = connection.link
    if link is None:
        return []
    match rule:
        case faults.Cut():
            connections.lost(link, now)
            return [Close(link, abrupt=True)]
        case faults.Freeze():
            connections.lost(link, now)
            return [Freeze(link)]
        case faults.Disconnected():
            frame = ProtocolMessage(action=Action.DISCONNECTED, error=rule.error())
            return end(connection, connections, frame, now) if rule.close else [Send(link, frame)]
        case faults.Reauth():
            return [Send(link, ProtocolMessage(action=Action.AUTH))]
        case faults.ChannelError():
            return _expel(connection, link, channels, rule, Action.ERROR)
        case faults.Detached():
            return _expel(connection, link, channels, rule, Action.DETACHED)
        case faults.Discontinuity():
            return reattached(channels, connection, _concerned(rule, connection), rule.error())
        case faults.Error():
            frame = ProtocolMessage(action=Action.ERROR, error=rule.error())
            return end(connection, connections, frame, now, forget=True)
    return []


def end(
    connection: Connection, connections: Connections, frame: ProtocolMessage, now: float, *, forget: bool = False
) -> list[Effect]:
    """A last frame, then the socket is closed; a forgotten connection can't be resumed."""
    link = connection.link
    if link is None:
        return []
    connections.lost(link, now)
    if forget:
        connections.forget(connection)
    return [Send(link, frame), Close(link)]


def _concerned(rule: faults.Injection, connection: Connection) -> list[str]:
    armed = faults.Armed(rule, 0.0)
    return [name for name in connection.attached if armed.concerns(name)]


def _expel(connection: Connection, link: int, channels: Channels, rule: faults.Error, action: Action) -> list[Effect]:
    names = _concerned(rule, connection)
    for name in names:
        detach(channels, connection, name)
    return [Send(link, ProtocolMessage(action=action, channel=name, error=rule.error())) for name in names]
