"""The HTTP interface of the gateway: server-sent events under `/v1`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from random import Random

import orjson
import structlog
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from processor.api.access import READ, Access, Asked, Grant, was_forwarded
from processor.api.cors import Cors
from processor.api.errors import forbidden, not_found, overloaded, unavailable
from processor.api.openapi import describe
from processor.api.refusals import Refusals
from processor.api.routes import authority
from processor.clock import Clock
from processor.errors import SettingsError, StoreUnavailable
from processor.gateway.clients import MAX_QUEUE_BYTES, StreamClient, StreamState
from processor.gateway.delivery import DeliveryParts, ReaderStalled, StreamDelivery, spread
from processor.gateway.events import KEEP_ALIVE
from processor.gateway.formats import StreamFormat, headers_of, new_stream
from processor.gateway.hub import Hub
from processor.gateway.places import Once, SnapshotPlace, SnapshotPlaces
from processor.gateway.resume import BeginWithSnapshots, ResumeAfter, beginning
from processor.gateway.routes import GatewayPath, StreamQuery, StreamRoute, find_stream, read_query
from processor.gateway.snapshots import FirstPage, Snapshots, StoredRecords
from processor.telemetry.answers import ApiError
from processor.telemetry.log import where
from processor.telemetry.metrics import Metrics
from processor.telemetry.server import abort

KEEP_ALIVE_SECONDS = 15.0
SWEEP_SECONDS = 0.5
POSITION_SECONDS = 225.0
"""Seconds between two `id:` lines of an idle reader. A position of 15 minutes ago would no longer be in the buffer."""
PLACE_SECONDS = 30.0
"""Seconds that a reader waits for a place to be sent snapshots, before it is refused."""
CLOSING_SHARE = 0.8
"""Of the time of a drain: `bye` is sent to all readers."""
LEAVING_SHARE = 0.9
"""Of the time of a drain: then the connections that are left are reset. What remains is for the rest of the process."""
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}

log = structlog.stdlib.get_logger("tokenstream.gateway")


@dataclass(frozen=True, slots=True)
class GatewayParts:
    """`partition_of` returns the partition of the frames topic that has a channel's frames; `caught_up`, whether the log was read to its end.

    `alone`: the process has no api, so the gateway answers every path of `/v1`.
    """

    hub: Hub
    store: StoredRecords
    access: Access
    metrics: Metrics
    clock: Clock
    random: Random
    partition_of: Callable[[str], int]
    caught_up: Callable[[], bool]
    cors_origins: tuple[str, ...] = ()
    max_clients: int = 10_000
    alone: bool = False


class HttpWire:
    """Writes to one reader's connection without waiting, chunked where HTTP/1.1 asks for it."""

    def __init__(self, writer: AbstractStreamWriter, transport: asyncio.WriteTransport, *, chunked: bool) -> None:
        self._writer = writer
        self._transport = transport
        self._chunked = chunked

    def queued(self) -> int:
        return self._transport.get_write_buffer_size()

    def write(self, block: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(b"%x\r\n%b\r\n" % (len(block), block) if self._chunked else block)

    def abort(self) -> None:
        abort(self._transport)

    async def drained(self) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError("the reader is gone")
        await self._writer.drain()


@dataclass(eq=False, slots=True)
class OpenStream:
    """A connected reader; times are monotonic seconds."""

    delivery: StreamDelivery
    wire: HttpWire
    next_comment: float
    next_position: float
    position: str = ""


class EventsV1:
    """Serves the streams. One per process."""

    def __init__(self, parts: GatewayParts) -> None:
        self._parts = parts
        self._hub = parts.hub
        self._snapshots = Snapshots(parts.hub, parts.store, parts.clock)
        self._cors = Cors(parts.cors_origins, readers_only=parts.access.open)
        self._refusals = Refusals()
        self._streams: set[OpenStream] = set()
        self._readers: dict[int, web.Request] = {}
        self._draining = False
        self._places = SnapshotPlaces()
        self._delivery = DeliveryParts(
            parts.hub,
            self._snapshots,
            self._places,
            parts.clock,
            parts.random,
            counted=parts.metrics.gateway_events.inc,
            reset=parts.metrics.gateway_resets.inc,
        )

    async def serve(self, request: web.Request) -> web.StreamResponse | None:
        """Returns None for a path of others. Raises only where the request is cancelled or its connection is lost."""
        template = "unknown"
        try:
            route = find_stream(request.raw_path, alone=self._parts.alone)
            if route is None:
                return None
            template = route.path.value
            response = await self._serve(request, route)
        except ApiError as error:
            self._refusals.note(error, template, request.remote)
            response = error.response()
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - one bad request never ends the process
            log.error("gateway_failed", route=template, error=type(error).__name__, where=where(error))  # noqa: TRY400
            response = ApiError(500, "internal", "The server failed. Its log has the reason.").response()
        if not response.prepared:
            response.headers.update({"Cache-Control": "no-store"} | self._cors.headers(request))
        self._parts.metrics.count_api_request(template, response.status)
        return response

    async def _serve(self, request: web.Request, route: StreamRoute) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return web.Response(status=204, headers=self._cors.preflight(request, route))
        if request.method not in route.methods:
            allowed = {"Allow": ", ".join([*route.methods, "OPTIONS"])}
            raise ApiError(405, "method_not_allowed", "This path does not take that method.", allowed)
        grant = await self._grant(request)
        query = read_query(route, request.query)
        if route.path is GatewayPath.DESCRIPTION:
            body = orjson.dumps(describe(version("tokenstream"), api=False, streams=True))
            return web.Response(body=body, content_type="application/json")
        with self._place(request):
            try:
                if route.path is GatewayPath.RESPONSE:
                    return await self._serve_response(request, grant, route.argument, query.format)
                return await self._serve_channels(request, grant, query)
            except StoreUnavailable as error:
                log.warning("gateway_store_unavailable", error=str(error))
                raise unavailable("The store does not answer. Try again later.") from error

    @contextlib.contextmanager
    def _place(self, request: web.Request) -> Iterator[None]:
        """Raises ApiError 503 where this gateway takes no reader now."""
        if self._draining:
            raise unavailable("This server is stopping. Connect again, to another one.")
        if not self._parts.caught_up():
            raise unavailable("This server is still reading what was published. Try again in a moment.")
        if len(self._readers) >= self._parts.max_clients:
            raise overloaded("This server has as many readers as it may have. Try again later.")
        self._readers[id(request)] = request
        self._parts.metrics.gateway_clients.set(len(self._readers))
        try:
            yield
        finally:
            del self._readers[id(request)]
            self._parts.metrics.gateway_clients.set(len(self._readers))

    async def _grant(self, request: web.Request) -> Grant:
        """`?access_token=` counts where there is no `Authorization`: an EventSource can't send headers."""
        target = authority(request.raw_path)
        hosts = request.headers.getall("Host", []) if target is None else [target]
        given = request.headers.getall("Authorization", [])
        given = given or [f"Bearer {token}" for token in request.query.getall("access_token", [])]
        asked = Asked(given, hosts, False, request.remote, was_forwarded(request.headers))
        try:
            return await self._parts.access.grant(asked)
        except SettingsError as error:
            log.warning("api_settings_unusable", mistakes=error.mistakes)
            raise unavailable("The server's credentials can't be read. Try again later.") from error

    # Channels

    async def _serve_channels(self, request: web.Request, grant: Grant, query: StreamQuery) -> web.StreamResponse:
        for channel in query.channels:
            if not grant.allows(READ, channel):
                raise forbidden(f"The credential does not grant `{READ}` on this channel.")
        partitions = frozenset(self._parts.partition_of(channel) for channel in query.channels)
        begin = beginning(request.headers.get("Last-Event-ID", ""), partitions, self._hub.buffer)
        first: Once[FirstPage] | None = None
        with self._snapshot_place() as place:
            if isinstance(begin, BeginWithSnapshots):
                # Before any header, so that a store that is down is a 503.
                await _taken(place)
                first = Once(await self._snapshots.first_page(min(query.channels), query.limit))
            async with self._stream(request, query, partitions, place) as (response, delivery):
                if delivery is not None:
                    await delivery.run_channels(begin, first, query.limit)
        return response

    # One response

    async def _serve_response(
        self, request: web.Request, grant: Grant, response_id: str, wanted: StreamFormat
    ) -> web.StreamResponse:
        await self._snapshots.settle(response_id)
        with self._snapshot_place() as place:
            await _taken(place)
            snapshot = await self._snapshots.current(response_id)
            if snapshot is None or not grant.allows(READ, snapshot.channel):
                raise not_found()
            channel, finished, first = snapshot.channel, snapshot.finished, Once(snapshot)
            del snapshot  # nobody but the stream holds it
            partitions = frozenset({self._parts.partition_of(channel)})
            begin = self._resumed(request, partitions) if wanted is StreamFormat.TOKENSTREAM else None
            if begin is not None and finished and not self._has_more(channel, response_id, begin):
                return web.Response(status=204)  # an EventSource then connects no more
            query = StreamQuery(frozenset({channel}), 0, wanted)
            async with self._stream(request, query, partitions, place, only=response_id) as (response, delivery):
                if delivery is not None:
                    if not finished and (latest := await self._snapshots.current(response_id)) is not None:
                        first, latest = Once(latest), None  # frames came meanwhile
                    await delivery.run_response(begin, first)
            return response

    def _resumed(self, request: web.Request, partitions: frozenset[int]) -> ResumeAfter | None:
        asked = beginning(request.headers.get("Last-Event-ID", ""), partitions, self._hub.buffer)
        return asked if isinstance(asked, ResumeAfter) else None

    def _has_more(self, channel: str, response_id: str, begin: ResumeAfter) -> bool:
        left = self._hub.buffer.of_response(channel, response_id)
        return any(frame.offset > begin.offsets.get(frame.partition, -1) for frame in left)

    @contextlib.contextmanager
    def _snapshot_place(self) -> Iterator[SnapshotPlace]:
        """A place that is not taken yet, and is given back in the end."""
        place = SnapshotPlace(self._places)
        try:
            yield place
        finally:
            place.give_back()

    @contextlib.asynccontextmanager
    async def _stream(
        self,
        request: web.Request,
        query: StreamQuery,
        partitions: frozenset[int],
        place: SnapshotPlace,
        *,
        only: str | None = None,
    ) -> AsyncIterator[tuple[web.StreamResponse, StreamDelivery | None]]:
        """A stream whose headers are sent, and whose client the hub knows. Without a delivery only headers were asked for."""
        response = web.StreamResponse(headers=HEADERS | headers_of(query.format) | self._cors.headers(request))
        writer = await response.prepare(request)
        if request.method == "HEAD" or writer is None or request.transport is None:
            yield response, None
            return
        await response.write(b": tokenstream\n\n")  # sends the headers
        wire = HttpWire(writer, request.transport, chunked=request.version >= (1, 1))
        stream = new_stream(query.format, only) if only is not None else None
        client = StreamClient(query.channels, partitions, wire, only=only, stream=stream)
        client.move_to(self._hub.buffer.ends, self._hub.buffer.serial)
        delivery = StreamDelivery(self._delivery, client, wire, place)
        if stream is None or stream.resumable:
            wire.write(b"retry: %d\n\n" % delivery.retry_ms())
        now = self._parts.clock.monotonic()
        opened = OpenStream(delivery, wire, now + KEEP_ALIVE_SECONDS, now + POSITION_SECONDS)
        self._streams.add(opened)
        self._hub.add(client)
        if self._draining:  # it began while the store was asked
            delivery.close()
        try:
            yield response, delivery
        except ReaderStalled:
            abort(request.transport)
            raise ConnectionResetError("the reader took nothing") from None
        except ConnectionError:
            raise
        except Exception as error:  # noqa: BLE001 - an answer has begun, and another one must not be written into it
            log.error("gateway_stream_failed", error=type(error).__name__, where=where(error))  # noqa: TRY400
            abort(request.transport)
            raise ConnectionResetError("the stream failed") from None
        finally:
            self._hub.remove(client)
            self._streams.discard(opened)

    # What is done for all streams

    async def keep_alive(self) -> None:
        """Runs until it is cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = self._parts.clock.monotonic()
            self._places.relieve(now)
            for stream in self._streams:
                if now >= stream.next_comment:
                    stream.next_comment = now + KEEP_ALIVE_SECONDS
                    self._comment(stream, now)

    def _comment(self, stream: OpenStream, now: float) -> None:
        if stream.wire.queued() > MAX_QUEUE_BYTES:
            return
        stream.wire.write(KEEP_ALIVE)
        client = stream.delivery.client
        if now < stream.next_position or client.state is not StreamState.LIVE or client.only is not None:
            return
        stream.next_position = now + POSITION_SECONDS
        if client.position() == stream.position:
            # Nothing came for it, so it is also where its partitions are now.
            client.move_to(self._hub.buffer.ends, self._hub.buffer.serial)
            stream.wire.write(b"id: %b\n\n" % client.position().encode())
        stream.position = client.position()

    async def drain(self, seconds: float) -> None:
        """Takes no more readers, and closes those that are there with `bye`, spread over the time.

        Returns when they are gone, within `seconds`: connections of readers that do not take what they are sent are
        reset.
        """
        self._draining = True
        readers = len(self._readers)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds * LEAVING_SHARE):
                streams = [stream.delivery for stream in self._streams]
                async for delivery in spread(streams, seconds * CLOSING_SHARE):
                    delivery.close()
                await self._all_left()
        reset = len(self._readers)
        for request in self._readers.values():
            if request.transport is not None:
                abort(request.transport)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds * (1 - LEAVING_SHARE)):
                await self._all_left()
        if readers:
            log.info("gateway_drained", readers=readers, reset=reset)

    async def _all_left(self) -> None:
        while self._readers:
            await asyncio.sleep(0.02)


async def _taken(place: SnapshotPlace) -> None:
    """Raises ApiError 503 if this reader would wait too long for its snapshot, because many others wait for theirs."""
    try:
        async with asyncio.timeout(PLACE_SECONDS):
            await place.take()
    except TimeoutError:
        raise overloaded("Too many readers wait for snapshots. Try again later.") from None
