"""Sockets: bytes to frames and back. One Link per websocket; Links carries out what the protocol decides.

Frames are written to the transport directly, a whole batch at the end of each turn of the loop, and a frame for many
links is encoded once per format: at fifteen thousand frames per second nothing else may be done per frame.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, cast

from aiohttp import WSMsgType, web

from devtools.emulator import wire
from devtools.emulator.connections import merge_acknowledgements
from devtools.emulator.effects import Close, Effect, Fanout, Freeze, Send
from devtools.emulator.faults import Latency
from devtools.emulator.protocol import ConnectParams, Protocol
from devtools.emulator.wire import Action, Format, ProtocolMessage

MAX_OUTGOING = 16 * 1024 * 1024
"""The maximum number of bytes that wait for a slow subscriber. Above it its messages are dropped, with a notice
(80020).
"""
MAX_FRAME = 2 * 1024 * 1024


def framed(payload: bytes, encoding: Format) -> bytes:
    """The payload as one unmasked websocket frame (RFC 6455, section 5.2), text for JSON."""
    opcode = b"\x82" if encoding is Format.MSGPACK else b"\x81"
    size = len(payload)
    if size < 126:
        return opcode + bytes((size,)) + payload
    if size < 65536:
        return opcode + b"\x7e" + size.to_bytes(2, "big") + payload
    return opcode + b"\x7f" + size.to_bytes(8, "big") + payload


class Link:
    def __init__(
        self, number: int, encoding: Format, socket: web.WebSocketResponse, transport: asyncio.Transport
    ) -> None:
        self.number = number
        self.encoding = encoding
        self.frozen = False
        self.socket = socket
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._batch: list[bytes] = []
        self._batched = 0
        self._acknowledged: ProtocolMessage | None = None
        self._delayed: dict[bool, deque[Callable[[], None]]] = {True: deque(), False: deque()}
        self._due: dict[bool, float] = {True: 0.0, False: 0.0}

    def full(self) -> bool:
        return self._batched + self._transport.get_write_buffer_size() > MAX_OUTGOING

    def acknowledge(self, ack: ProtocolMessage) -> None:
        """Neighbouring acknowledgements of a turn leave as one frame, as the service's do."""
        if self.frozen or (self._acknowledged is not None and merge_acknowledgements(self._acknowledged, ack)):
            return
        self._write_acknowledged()
        if not self._batch:
            self._loop.call_soon(self.flush)
        self._acknowledged = ack

    def write(self, frame: bytes) -> None:
        if self.frozen:
            return
        if not self._batch and self._acknowledged is None:
            self._loop.call_soon(self.flush)
        self._write_acknowledged()
        self._batch.append(frame)
        self._batched += len(frame)

    def _write_acknowledged(self) -> None:
        if (ack := self._acknowledged) is not None:
            self._acknowledged = None
            self._batch.append(framed(wire.encode(ack, self.encoding), self.encoding))

    def flush(self) -> None:
        self._write_acknowledged()
        if self._batch and not self._transport.is_closing():
            self._transport.write(b"".join(self._batch))
        self._batch.clear()
        self._batched = 0

    def abort(self) -> None:
        self._acknowledged = None
        self._batch.clear()
        self._batched = 0
        self._transport.abort()

    def later(self, act: Callable[[], None], seconds: float, *, inward: bool) -> None:
        """Acts after this long, in order; at once where there is no latency and nothing waits."""
        waiting = self._delayed[inward]
        if seconds <= 0 and not waiting:
            act()
            return
        self._due[inward] = max(self._due[inward], self._loop.time() + seconds)
        waiting.append(act)
        self._loop.call_at(self._due[inward], _act_first, waiting)


class Links:
    """`now` is the protocol's clock."""

    def __init__(self, protocol: Protocol, now: Callable[[], float]) -> None:
        self.protocol = protocol
        self.now = now
        self._links: dict[int, Link] = {}
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._links)

    @property
    def latency(self) -> Latency:
        return self.protocol.faults.latency

    # -- a socket's life

    async def serve(self, request: web.Request) -> web.StreamResponse:
        refusal = self.protocol.connect_refusal()
        if refusal is not None and refusal.code is None:
            return web.Response(status=refusal.status or 503, text="Refused by a fault switch")
        socket = web.WebSocketResponse(compress=False, max_msg_size=MAX_FRAME, timeout=2.0)
        await socket.prepare(request)
        # uvloop's transports are no subclass of asyncio's, but have all its methods.
        transport = cast("asyncio.Transport", request.transport)
        encoding = Format.MSGPACK if request.query.get("format") == Format.MSGPACK else Format.JSON
        self._count += 1
        link = Link(self._count, encoding, socket, transport)
        self._links[link.number] = link
        try:
            opened = self.protocol.open(link.number, _connect_params(request), _fresh_id, self.now(), refusal)
            self.perform(opened)
            self.reschedule()
            await self._read(link)
        finally:
            self._links.pop(link.number, None)
            self.protocol.lost(link.number, self.now())
        return socket

    async def _read(self, link: Link) -> None:
        async for received in link.socket:
            if received.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                continue
            if self.protocol.faults.active:
                raw = received.data
                link.later(lambda raw=raw: self._take(link, raw), self.latency.in_ms / 1000, inward=True)  # type: ignore[misc]
            else:
                self._take(link, received.data)

    def _take(self, link: Link, raw: str | bytes) -> None:
        if link.frozen or link.number not in self._links:
            return
        try:
            message = wire.decode(raw, link.encoding)
        except wire.NotProtocol as error:
            info = wire.error(40000, str(error))
            self._send(link, ProtocolMessage(action=Action.ERROR, error=info))
            self.perform([Close(link.number)])
            return
        self.perform(self.protocol.receive(link.number, message, len(raw), self.now()))
        if self.protocol.faults.active:
            self.reschedule()

    # -- effects

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            if type(effect) is Send:
                link = self._links.get(effect.link)
                if link is not None:
                    self._send(link, effect.message)
            elif type(effect) is Fanout:
                self._fan_out(effect)
            elif type(effect) is Close:
                self._close(effect)
            elif type(effect) is Freeze:
                self._links[effect.link].frozen = True

    def _send(self, link: Link, message: ProtocolMessage) -> None:
        if message.action == Action.ACK and not self.protocol.faults.active:
            link.acknowledge(message)
            return
        self._write(link, framed(wire.encode(message, link.encoding), link.encoding))

    def _write(self, link: Link, frame: bytes) -> None:
        if self.protocol.faults.active:
            link.later(lambda: link.write(frame), self.latency.out_ms / 1000, inward=False)
        else:
            link.write(frame)

    def _fan_out(self, effect: Fanout) -> None:
        encoded: dict[Format, bytes] = {}
        for number in effect.links:
            link = self._links.get(number)
            if link is None:
                continue
            frame = encoded.get(link.encoding)
            if frame is None:
                frame = encoded[link.encoding] = framed(wire.encode(effect.message, link.encoding), link.encoding)
            if link.full():
                self.perform(self.protocol.overflowed(number, self.now()))
            else:
                self._write(link, frame)

    def _close(self, effect: Close) -> None:
        link = self._links.get(effect.link)
        if link is None:
            return
        if effect.abrupt:
            link.abort()
        elif self.protocol.faults.active:
            link.later(lambda: self._leave(link), self.latency.out_ms / 1000, inward=False)
        else:
            self._leave(link)

    def _leave(self, link: Link) -> None:
        link.flush()
        self.spawn(_closed(link.socket))

    def abort_all(self) -> None:
        for link in list(self._links.values()):
            self.protocol.lost(link.number, self.now())
            link.abort()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs the work to its end, or to `stop`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- time

    def reschedule(self) -> None:
        """Wakes the protocol when it next wants to be."""
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, self.protocol.next_wake() - self.now()), self._tick)

    def _tick(self) -> None:
        self.perform(self.protocol.tick(self.now()))
        self.reschedule()

    async def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.abort_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _act_first(waiting: deque[Callable[[], None]]) -> None:
    waiting.popleft()()


async def _closed(socket: web.WebSocketResponse) -> None:
    await socket.close()


def _fresh_id() -> str:
    return secrets.token_urlsafe(8)


def _connect_params(request: web.Request) -> ConnectParams:
    query = request.query
    return ConnectParams(
        key=query.get("key"),
        token=query.get("accessToken") or query.get("access_token"),
        client_id=query.get("clientId"),
        resume=query.get("resume") or query.get("recover"),
        echo=query.get("echo") != "false",
    )
