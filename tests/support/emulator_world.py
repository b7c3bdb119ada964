"""A realtime protocol without sockets, driven by hand: time advances only when moved."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from devtools.emulator import faults as faulty
from devtools.emulator.auth import Key
from devtools.emulator.channels import Bounds, Channels
from devtools.emulator.effects import Close, Effect, Fanout, Freeze, Send
from devtools.emulator.protocol import ConnectParams, Protocol
from devtools.emulator.publishing import Publishing
from devtools.emulator.serials import Serials
from devtools.emulator.wire import Action, Message, ProtocolMessage

KEY = "local.key:secret"


class World:
    """`frames[link]` has what a link was sent; `closed` has the closed links, and whether each was closed abruptly."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self.now = 1000.0
        self.frames: dict[int, list[ProtocolMessage]] = {}
        self.closed: dict[int, bool] = {}
        self.frozen: set[int] = set()
        self._ids = (f"id{number}" for number in itertools.count())
        self._links = itertools.count(1)
        channels = Channels(Serials("series"), bounds or Bounds())
        self.protocol = Protocol(Key.parse(KEY), Publishing(channels, 0.0), faulty.Faults(), 0.0)
        self.wait(0.0)

    def connect(self, *, key: str | None = KEY, token: str | None = None, **params: Any) -> int:
        link = next(self._links)
        self.frames[link] = []
        given = ConnectParams(key=None if token else key, token=token, **params)
        self._do(self.protocol.open(link, given, lambda: next(self._ids), self.now, self.protocol.connect_refusal()))
        return link

    def send(self, link: int, message: ProtocolMessage, size: int = 100) -> list[ProtocolMessage]:
        """What the link is sent because of it."""
        before = len(self.frames[link])
        self._do(self.protocol.receive(link, message, size, self.now))
        return self.frames[link][before:]

    def attach(self, link: int, name: str, **fields: Any) -> list[ProtocolMessage]:
        return self.send(link, ProtocolMessage(action=Action.ATTACH, channel=name, **fields))

    def publish(
        self, link: int, name: str, messages: Message | list[Message] | str, serial: int = 0, size: int = 100
    ) -> ProtocolMessage | None:
        """The answer, if one came at once."""
        if isinstance(messages, str):
            messages = Message(name="n", data=messages)
        if isinstance(messages, Message):
            messages = [messages]
        frame = ProtocolMessage(action=Action.MESSAGE, channel=name, msg_serial=serial, messages=messages)
        answers = [sent for sent in self.send(link, frame, size) if sent.action in (Action.ACK, Action.NACK)]
        return answers[-1] if answers else None

    def switch(self, spec: Mapping[str, Any]) -> None:
        for rule in faulty.parse(dict(spec)):
            if isinstance(rule, faulty.Injection) and faulty.is_immediate(rule):
                self._do(self.protocol.inject(rule, faulty.Armed(rule, self.now), self.now))
            else:
                self.protocol.faults.add(rule, self.now)

    def drop(self, link: int) -> None:
        self.protocol.lost(link, self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self._do(self.protocol.tick(self.now))

    def heard(self, link: int) -> list[Any]:
        return [message.data for frame in self.frames[link] for message in frame.messages or ()]

    def last(self, link: int) -> ProtocolMessage:
        return self.frames[link][-1]

    def connection_key(self, link: int) -> str:
        key = next(frame.connection_key for frame in self.frames[link] if frame.action == Action.CONNECTED)
        assert key is not None
        return key

    def connection_id(self, link: int) -> str | None:
        return next(frame.connection_id for frame in self.frames[link] if frame.action == Action.CONNECTED)

    def actions(self, link: int) -> list[int]:
        return [frame.action for frame in self.frames[link]]

    def _do(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(link, message):
                    self.frames[link].append(message)
                case Fanout(links, message):
                    for link in links:
                        self.frames[link].append(message)
                case Close(link, abrupt):
                    self.closed[link] = abrupt
                case Freeze(link):
                    self.frozen.add(link)


def code(frame: ProtocolMessage | None) -> int:
    assert frame is not None
    assert frame.error is not None
    return frame.error.code


def serials(frame: ProtocolMessage | None) -> tuple[str, ...]:
    assert frame is not None
    assert frame.action == Action.ACK
    assert frame.res is not None
    return frame.res[0].serials
