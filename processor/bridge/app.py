"""The HTTP application: OpenAI's paths. Each request is a stream of its own, which continues when its caller
disconnects.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from aiohttp import web

from processor.bridge.access import BridgeAccess
from processor.bridge.asking import RESPONSE_ID_HEADER, BridgeRequest, Mode, Rules, authorized, forwarded, read_request
from processor.bridge.bodies import BodyBudget, RequestBody
from processor.bridge.pipe import CallerPipe
from processor.bridge.reading import BRIDGE_STOPPED, UPSTREAM_ERROR
from processor.bridge.refusals import NO_RETRY, Refusal, busy, invalid, json_response
from processor.bridge.stream import Stream, StreamParts
from processor.bridge.upstream import UpstreamAnswer, UpstreamFailed, without_type

STOP_SECONDS: Final = 15.0
"""For streams that were stopped to write their end."""
CALLER_GONE: Final = 499
"""Counted for a caller that went away before its answer was complete."""
COMPLETIONS: Final = ("/chat/completions", "/completions")

log = structlog.stdlib.get_logger("tokenstream.bridge")


Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]
KeySource = Callable[[], Awaitable[str | None]]
"""The bearer token for callers that send none, as its file has it now."""


class BridgeHealth(Protocol):
    def add_routes(self, app: web.Application) -> None: ...


@dataclass(frozen=True, slots=True)
class BridgeOptions:
    """`max_bytes`: of the bodies of all requests that the model server has not answered. `write_seconds`: for a caller to take a part of
    its stream. `drain_seconds`: for running streams at a stop.
    """

    rules: Rules
    max_streams: int
    max_bytes: int
    write_seconds: float
    drain_seconds: float
    key: KeySource


class Bridge:
    """Its streams run until `drain` returns."""

    def __init__(self, options: BridgeOptions, access: BridgeAccess, parts: StreamParts) -> None:
        self._options = options
        self._access = access
        self._parts = parts
        self._streams: dict[str, Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading = 0
        self._bodies = BodyBudget(options.max_bytes)
        self._draining = False

    def make_app(self, health: BridgeHealth) -> web.Application:
        app = web.Application()
        app.on_response_prepare.append(_harden)
        health.add_routes(app)
        for path in COMPLETIONS:
            app.router.add_post(f"/v1{path}", self._counted(self._complete))
        app.router.add_get("/v1/models", self._counted(self._models))
        app.router.add_route("*", r"/{path:[\s\S]*}", self._counted(_not_found))
        return app

    @property
    def draining(self) -> str | None:
        """Why no request is taken; for readiness."""
        return "it is being stopped" if self._draining else None

    @property
    def body_bytes(self) -> int:
        """Of all requests in memory."""
        return self._bodies.held

    async def drain(self) -> None:
        """Takes no more requests. Running streams have `drain_seconds` to end; the rest are ended."""
        self._draining = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._options.drain_seconds)
        for stream in list(self._streams.values()):
            stream.stop()
        if self._tasks:
            log.warning("bridge_streams_stopped", streams=len(self._tasks))
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # Requests

    def _counted(self, serve: Serve) -> Serve:
        async def answer(request: web.Request) -> web.StreamResponse:
            """Raises only where the request is cancelled or its connection is lost."""
            try:
                response = await serve(request)
            except Refusal as refusal:
                response = refusal.response()
            except asyncio.CancelledError:
                self._parts.measures.answered(CALLER_GONE)
                raise
            self._parts.measures.answered(response.status)
            return response

        return answer

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        with self._reserved(), contextlib.ExitStack() as stack:
            body = RequestBody(self._bodies)
            stack.callback(body.release)
            asked = await self._read(request, body)
            self._check_running()
            pipe = CallerPipe(self._options.write_seconds)
            if asked.mode is not Mode.STREAM:
                pipe.leave()
            target = (request.path.removeprefix("/v1"), request.rel_url.raw_query_string)
            stream, mode = Stream(asked, *target, pipe, self._parts, body.release), asked.mode
            del asked  # its body may be large, and the stream forgets it once it is sent
            self._begin(stream)
            stack.pop_all()
        try:
            return await self._answer(request, stream, mode)
        finally:
            pipe.leave()

    @contextlib.contextmanager
    def _reserved(self) -> Iterator[None]:
        """Room for a stream, while its request is read."""
        self._check_running()
        if len(self._streams) + self._reading >= self._options.max_streams:
            raise busy("too_many_streams", f"The bridge has {self._options.max_streams} streams, as many as it may.")
        self._reading += 1
        try:
            yield
        finally:
            self._reading -= 1

    def _check_running(self) -> None:
        """Asked before the body is read, and after: nobody waits for a stream that begins once `drain` has returned."""
        if self._draining:
            raise busy(BRIDGE_STOPPED, "The bridge is being stopped.")

    async def _read(self, request: web.Request, body: RequestBody) -> BridgeRequest:
        admission = await self._access.admit(request.headers)
        try:
            async with asyncio.timeout(self._options.write_seconds):
                received = await body.read(request.content.iter_any())
        except TimeoutError:
            raise Refusal(408, "request_timeout", "The body of the request did not come in time.") from None
        except web.RequestPayloadError:
            raise invalid("The body is not in the encoding that its headers name.") from None
        asked = read_request(received, request.headers, self._options.rules, await self._options.key())
        admission.check_channel(asked.channel)
        if asked.response_id in self._streams:
            raise Refusal(409, "response_id_in_use", "A response with this id is open. Use a new id.", NO_RETRY)
        return asked

    def _begin(self, stream: Stream) -> None:
        """The stream's task is nobody's but the bridge's: `drain` waits for it, and its caller may go."""
        self._streams[stream.response_id] = stream
        task = asyncio.create_task(stream.run())
        self._tasks.add(task)
        self._parts.measures.open_streams(len(self._streams))

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            del self._streams[stream.response_id]
            self._parts.measures.open_streams(len(self._streams))

        task.add_done_callback(ended)

    # Answers

    async def _answer(self, request: web.Request, stream: Stream, mode: Mode) -> web.StreamResponse:
        opened = await asyncio.shield(stream.opened)
        if isinstance(opened, UpstreamAnswer):
            return _same(opened)
        ours = {RESPONSE_ID_HEADER: stream.response_id}
        match mode:
            case Mode.DETACH:
                return json_response(202, {"responseId": stream.response_id, "channel": stream.channel}, ours)
            case Mode.WHOLE:
                try:
                    completion = await asyncio.shield(stream.completion)
                except Refusal as refusal:
                    refusal.headers |= ours  # it was written all the same
                    raise
                return json_response(200, completion, without_type(opened.headers) | ours)
            case Mode.STREAM:
                return await self._pass_on(request, stream.pipe, opened.headers | ours)

    async def _pass_on(self, request: web.Request, pipe: CallerPipe, headers: dict[str, str]) -> web.StreamResponse:
        """The model server's bytes. Where they broke off, the caller's connection does too."""
        response = web.StreamResponse(headers=headers)
        try:
            await response.prepare(request)
            async with contextlib.aclosing(pipe.pieces()) as pieces:
                async for piece in pieces:
                    async with asyncio.timeout(self._options.write_seconds):
                        await response.write(piece)
            if pipe.whole:
                await response.write_eof()
                return response
        except (ConnectionError, TimeoutError):
            pass
        if request.transport is not None:
            request.transport.abort()
        return response

    async def _models(self, request: web.Request) -> web.StreamResponse:
        await self._access.admit(request.headers)
        headers = authorized(forwarded(request.headers), await self._options.key())
        try:
            return _same(await self._parts.upstream.get("/models", request.rel_url.raw_query_string, headers))
        except UpstreamFailed as failure:
            self._parts.measures.upstream_failed(failure.cause)
            raise Refusal(502, UPSTREAM_ERROR, str(failure)) from failure


def _same(answer: UpstreamAnswer) -> web.Response:
    return web.Response(status=answer.status, headers=answer.headers, body=answer.body)


async def _not_found(_request: web.Request) -> web.StreamResponse:
    paths = ", ".join(f"POST /v1{path}" for path in COMPLETIONS)
    raise Refusal(404, "not_found", f"The bridge serves {paths} and GET /v1/models.")


async def _harden(_request: web.BaseRequest, response: web.StreamResponse) -> None:
    response.headers["Server"] = "tokenstream"
    response.headers["X-Content-Type-Options"] = "nosniff"
