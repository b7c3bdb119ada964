"""`POST /messages`: publishes of many channels in one request, each accepted or refused by itself.

A spec is one channel or several with one message or several; a spec counts as one message towards a channel's rate.
The answer has a result for each spec since protocol version 3; before, it is one list, inside error 40020 if some
failed.
"""

import asyncio
import secrets

import msgspec
from aiohttp import web

from devtools.emulator import faults, wire
from devtools.emulator.auth import Grant, Refused, refuse
from devtools.emulator.limits import RateWindow
from devtools.emulator.links import Links
from devtools.emulator.rest import Rest, body_format, odd_response, respond
from devtools.emulator.wire import Format, Message

MAX_CHANNELS = 100
MAX_BODY = 2 * 1024 * 1024
SPECS_VERSION = 3


class Spec(msgspec.Struct):
    channels: str | list[str]
    messages: Message | list[Message]

    @property
    def names(self) -> list[str]:
        return [self.channels] if isinstance(self.channels, str) else self.channels

    @property
    def contents(self) -> list[Message]:
        return self.messages if isinstance(self.messages, list) else [self.messages]


class Success(msgspec.Struct, omit_defaults=True):
    channel: str
    messageId: str  # noqa: N815 - the name on the wire
    serials: list[str]


class Failure(msgspec.Struct):
    channel: str
    error: wire.ErrorInfo


Outcome = Success | Failure


class Batches:
    def __init__(self, links: Links, rest: Rest) -> None:
        self._links = links
        self._protocol = links.protocol
        self._rest = rest
        self._requests = RateWindow(0)

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/messages", self._publish)]

    async def _publish(self, request: web.Request) -> web.StreamResponse:
        grant = self._rest.grant(request)
        raw = await request.read()
        specs = decode(raw, body_format(request))
        if len({name for spec in specs for name in spec.names}) > MAX_CHANNELS:
            raise refuse(40000, f"A batch names {MAX_CHANNELS} channels at most")
        self._limit_requests()
        names = [name for spec in specs for name in spec.names]
        if self._lost(faults.DropPublish, names) or self._cut(names, "before"):
            return abort(request)
        odd = self._rest.odd_answer(names)
        if odd is not None and not odd.accepted:
            return odd_response(odd)
        outcomes = [[self._accept(name, spec, grant) for name in spec.names] for spec in specs]
        if self._lost(faults.DropAck, names) or self._cut(names, "after"):
            return abort(request)
        await self._delay(names)
        if odd is not None:
            return odd_response(odd)
        return told(request, outcomes)

    def _accept(self, name: str, spec: Spec, grant: Grant) -> Outcome:
        now = self._links.now()
        messages = (
            msgspec.convert(msgspec.to_builtins(spec.contents), list[Message]) if len(spec.names) > 1 else spec.contents
        )
        try:
            self._refuse(name, now)
            result = self._protocol.publishing.publish(
                name,
                messages,
                grant,
                now,
                connection=None,
                fallback=secrets.token_urlsafe(9),
                size=wire.MAX_MESSAGE_SIZE,
            )
        except Refused as refused:
            self._protocol.totals.refused += 1
            return Failure(name, refused.info)
        self._protocol.count(result.entry is not None)
        self._links.perform([*result.fanouts])
        return Success(name, result.id, list(result.serials))

    def _refuse(self, name: str, now: float) -> None:
        """Raises Refused if a fault or the channel's rate refuses the publish."""
        rules = self._protocol.faults
        if not rules.active:
            return
        if (refusal := rules.first(faults.Nack, name)) is not None:
            raise Refused(refusal.error())
        if rules.limits is not None and not rules.limits.take_channel(name, now):
            raise refuse(42913)

    def _limit_requests(self) -> None:
        limits = self._protocol.faults.limits
        if limits is not None:
            self._requests.limit = limits.requests
            if not self._requests.admits(1, self._links.now()):
                raise refuse(42918)

    def _lost(self, kind: type[faults.Rule], names: list[str]) -> bool:
        rules = self._protocol.faults
        return rules.active and any([rules.first(kind, name) is not None for name in names])  # noqa: C419 - each is counted

    def _cut(self, names: list[str], at: str) -> bool:
        """An injected fault that ends a connection ends the request's."""
        rules = self._protocol.faults
        return rules.active and any([rules.on_publish(name, at) for name in names])  # noqa: C419 - each is counted

    async def _delay(self, names: list[str]) -> None:
        rules = self._protocol.faults
        if rules.active:
            delays = [rules.first(faults.DelayAck, name) for name in names]
            await asyncio.sleep(max((delay.ms for delay in delays if delay is not None), default=0.0) / 1000)


def decode(raw: bytes, encoding: Format) -> list[Spec]:
    """Raises Refused."""
    if len(raw) > MAX_BODY:
        raise refuse(40009, f"A batch has {MAX_BODY} bytes at most")
    kind = Spec | list[Spec]
    try:
        if encoding is Format.MSGPACK:
            found = msgspec.msgpack.decode(raw, type=kind, strict=False)
        else:
            found = msgspec.json.decode(raw, type=kind, strict=False)
    except msgspec.DecodeError as error:
        raise refuse(40000, f"The body is not a batch: {error}") from error
    return found if isinstance(found, list) else [found]


def told(request: web.Request, outcomes: list[list[Outcome]]) -> web.Response:
    try:
        version = int(float(request.headers.get("X-Ably-Version", "1")))
    except ValueError:
        version = 1
    flat = [outcome for spec in outcomes for outcome in spec]
    failed = sum(isinstance(outcome, Failure) for outcome in flat)
    if version >= SPECS_VERSION:
        specs = [
            {
                "successCount": sum(isinstance(outcome, Success) for outcome in spec),
                "failureCount": sum(isinstance(outcome, Failure) for outcome in spec),
                "results": spec,
            }
            for spec in outcomes
        ]
        return respond(request, specs, status=201)
    if failed:
        error = wire.error(40020, "Batched response includes errors", 400)
        return respond(request, {"error": error, "batchResponse": flat}, status=400)
    return respond(request, flat, status=201)


def abort(request: web.Request) -> web.Response:
    """End the socket without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
