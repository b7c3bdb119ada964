r"""One response: read from the model server, written to Kafka, passed to its caller. It continues when the caller
disconnects.

    asked -> accepted -> first chunk: `start` in Kafka -> tokens -> `stop`
         \-> refused: nothing is written

A cancel ends it too, at any time: it closes the connection to the model server. Before the first chunk, Kafka gets a
`start` and a `stop` all the same.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from processor.bridge.asking import RESPONSE_ID_HEADER, BridgeRequest, Mode
from processor.bridge.assembly import Assembly, CompletionTooLarge
from processor.bridge.kafka import KafkaLink
from processor.bridge.measures import BridgeMeasures
from processor.bridge.pipe import CallerPipe
from processor.bridge.reading import BRIDGE_STOPPED, UPSTREAM_ERROR, Reading, StreamReader
from processor.bridge.refusals import NO_RETRY, Refusal
from processor.bridge.sse import EventParser, EventTooLarge
from processor.bridge.upstream import Cause, Upstream, UpstreamAnswer, UpstreamFailed, UpstreamStream
from topics.codec import TokenRecord
from topics.producer import DeliveryError, ResponseWriter, TokenProducer
from topics.records import EndReason, Event, JsonObject

KAFKA_SECONDS: Final = 5.0
"""A record may wait so long to be handed to Kafka. Beyond it the response is lost there, and goes on for its caller."""
DONE_SECONDS: Final = 1.0
"""After `[DONE]`, until the model server ends its answer, by which its connection can be used again. What it sends does not prolong it."""

log = structlog.stdlib.get_logger("tokenstream.bridge")
Records = tuple[TokenRecord, ...]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The model server's answer is a stream. `headers` are the caller's too."""

    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class StreamParts:
    """What all streams of a bridge share."""

    upstream: Upstream
    kafka: KafkaLink
    measures: BridgeMeasures
    clock: Callable[[], float]
    """Seconds, monotonic."""


class Stream:
    """`opened` has the model server's reply to the request; `completion` is the whole answer, for a caller that
    requested it whole.

    `forgotten` is called once the request is no longer in memory, and may be called again.
    """

    def __init__(
        self,
        asked: BridgeRequest,
        path: str,
        query: str,
        pipe: CallerPipe,
        parts: StreamParts,
        forgotten: Callable[[], None],
    ) -> None:
        self.response_id = asked.response_id
        self.channel = asked.channel
        self.opened: asyncio.Future[Accepted | UpstreamAnswer] = asyncio.get_running_loop().create_future()
        self.completion: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()
        self.pipe = pipe
        self._asked: BridgeRequest | None = asked
        self._forgotten = forgotten
        self._mode = asked.mode
        self._trace = asked.trace
        self._target = (path, query)
        self._parts = parts
        self._asked_at = parts.clock()
        self._parser = EventParser()
        self._reader = StreamReader(asked.response_id, asked.channel)
        self._assembly = Assembly() if asked.mode is Mode.WHOLE else None
        self._too_large: CompletionTooLarge | None = None
        self._upstream: UpstreamStream | None = None
        self._failure: UpstreamFailed | None = None
        self._stopped = False
        self._closes_at: float | None = None
        """When the connection is closed (seconds of the loop's clock), once `[DONE]` has come."""
        self._lost = False

    def __repr__(self) -> str:
        return f"Stream({self.response_id})"

    async def run(self) -> None:
        """Until the response has its stop. Never raises, but by cancellation."""
        try:
            async with self._parts.kafka.checked(self.channel) as producer:
                await self._run(producer)
        except Refusal as refusal:
            self._refuse(refusal)
        except UpstreamFailed as failure:
            if not self._stopped:
                self._parts.measures.upstream_failed(failure.cause)
            self._refuse(_stopped() if self._stopped else Refusal(502, UPSTREAM_ERROR, str(failure)))
        except Exception as error:  # noqa: BLE001 - one response never ends the process
            # The type alone: a message may hold text of the response.
            log.error("bridge_stream_failed", response_id=self.response_id, error=type(error).__name__)  # noqa: TRY400
        finally:
            self._settle()

    def stop(self) -> None:
        """Ends the response with `bridge_stopped`, or its request where the model server has not accepted it."""
        self._stopped = True
        self.pipe.leave()
        if self._upstream is not None:
            self._upstream.close()
        else:
            self._refuse(_stopped())

    async def _run(self, producer: TokenProducer) -> None:
        with contextlib.ExitStack() as connection:
            opened = None
            with producer.cancellable(self.channel, self.response_id) as scope:
                scope.check()
                opened = await self._open(connection)
            if scope.cancelled:
                connection.close()
                await self._write_cancelled(producer)
            elif opened is not None:
                await self._copy(*opened, producer)

    async def _open(self, connection: contextlib.ExitStack) -> tuple[Records, AsyncGenerator[Records, None]] | None:
        """Returns the first records and a generator of the others, or None if the request has ended without a stream.

        `connection` closes the connection to the model server.
        """
        answer = await self._ask()
        if isinstance(answer, UpstreamAnswer):
            self._refused(answer)
            return None
        self._upstream = answer
        connection.enter_context(contextlib.closing(answer))
        if self.opened.done():  # by `stop`
            return None
        detached = self._mode is Mode.DETACH
        if detached:
            self.opened.set_result(Accepted(answer.headers))
        piece = await self._first_piece(answer, patient=detached)
        if not detached:
            self.opened.set_result(Accepted(answer.headers))
        batches = self._batches(answer, piece)
        return await anext(batches), batches

    async def _ask(self) -> UpstreamStream | UpstreamAnswer:
        """Forgets the request, which may be large."""
        asked, self._asked = self._asked, None
        assert asked is not None
        answer = await self._parts.upstream.ask(*self._target, asked.body, asked.headers)
        del asked
        self._forgotten()
        return answer

    async def _first_piece(self, answer: UpstreamStream, *, patient: bool) -> bytes:
        """Raises UpstreamFailed where none came, unless the caller has been answered already."""
        try:
            piece = await answer.read_first()
        except UpstreamFailed as failure:
            if not patient:
                raise
            self._failure = failure
            return b""
        self._parts.measures.first_byte(self._parts.clock() - self._asked_at)
        return piece

    async def _copy(self, records: Records, batches: AsyncGenerator[Records, None], producer: TokenProducer) -> None:
        """Writes the response to Kafka. The first of `records` is its start."""
        writer = self._writer(producer, records[0].metadata)
        finished = False
        try:
            async with contextlib.AsyncExitStack() as stack:
                begun = await self._begin(writer, stack)
                async with contextlib.aclosing(batches):
                    await self._write(writer, records[1:])
                    async for more in batches:
                        await self._write(writer, more)
                self._hand_over()
                finished = True
                if begun:
                    self._check_delivered()
        except DeliveryError as error:
            self._lose(error)
        if not finished:
            self._cancelled()

    async def _write_cancelled(self, producer: TokenProducer) -> None:
        """Writes a response that was cancelled before its start: a start and a stop."""
        writer = self._writer(producer, None)
        try:
            async with contextlib.AsyncExitStack() as stack:
                if await self._begin(writer, stack):
                    async with asyncio.timeout(KAFKA_SECONDS):
                        await writer.stop(reason=EndReason.CANCELLED)
        except (DeliveryError, TimeoutError) as error:
            self._lose(error)
        self._cancelled()

    def _writer(self, producer: TokenProducer, metadata: JsonObject | None) -> ResponseWriter:
        return producer.response(self.channel, metadata=metadata, response_id=self.response_id, headers=self._trace)

    def _check_delivered(self) -> None:
        """Raises DeliveryError, by which the block ends the response with an error."""
        if self._lost:
            raise DeliveryError("records of this response were not delivered to Kafka")

    async def _begin(self, writer: ResponseWriter, stack: contextlib.AsyncExitStack) -> bool:
        try:
            async with asyncio.timeout(KAFKA_SECONDS):
                await stack.enter_async_context(writer)
        except (DeliveryError, TimeoutError) as error:
            self._lose(error)
            return False
        return True

    async def _batches(self, answer: UpstreamStream, piece: bytes) -> AsyncGenerator[Records, None]:
        """The token events of each piece that brings any, the stop among the last. The connection is closed at the end."""
        with contextlib.closing(answer):
            try:
                while piece:
                    await self.pipe.put(piece)
                    if records := self._take(self._parser.feed(piece)):
                        yield records
                    piece = await self._next_piece(answer)
                if self._failure is None and not self._stopped and (records := self._take(self._parser.finish())):
                    yield records
            except UpstreamFailed as failure:
                self._failure = failure
            except EventTooLarge as error:
                self._failure = UpstreamFailed(Cause.BROKEN, str(error))
            if records := self._last_records():
                yield records

    async def _next_piece(self, answer: UpstreamStream) -> bytes:
        if self._closes_at is None:
            return await answer.read()
        if asyncio.get_running_loop().time() >= self._closes_at:
            return b""
        try:
            async with asyncio.timeout_at(self._closes_at):
                return await answer.read()
        except (TimeoutError, UpstreamFailed):
            return b""

    def _take(self, events: list[bytes]) -> Records:
        records: list[TokenRecord] = []
        for event in events:
            reading = self._reader.read(event)
            records += reading.records
            if reading.done and self._closes_at is None:
                self._closes_at = asyncio.get_running_loop().time() + DONE_SECONDS
            self._assemble(reading, len(event))
        return tuple(records)

    def _assemble(self, reading: Reading, size: int) -> None:
        if self._assembly is None or reading.fields is None or self._too_large is not None:
            return
        try:
            self._assembly.add(reading.fields, size)
        except CompletionTooLarge as error:
            self._too_large, self._assembly = error, None

    def _last_records(self) -> Records:
        """The stop, where the stream gave none."""
        if self._stopped:
            return self._reader.fail(BRIDGE_STOPPED, "The bridge was stopped before the response was complete.")
        if self._failure is not None:
            if not self._reader.ended:
                self._parts.measures.upstream_failed(self._failure.cause)
            return self._reader.fail(UPSTREAM_ERROR, str(self._failure))
        cut_off = not self._reader.ended
        records = self._reader.finish()
        if self._reader.error is not None:
            self._parts.measures.upstream_failed(Cause.INCOMPLETE if cut_off else Cause.ERROR)
        return records

    # Kafka

    async def _write(self, writer: ResponseWriter, records: Records) -> None:
        for record in records:
            if self._lost:
                return
            try:
                async with asyncio.timeout(KAFKA_SECONDS):
                    await _write_record(writer, record)
            except (DeliveryError, ValueError, TimeoutError) as error:
                self._lose(error)

    def _lose(self, error: Exception) -> None:
        if not self._lost:
            self._lost = True
            self._parts.measures.lost()
            detail = str(error) or f"a record could not be handed to Kafka within {KAFKA_SECONDS:g} s"
            log.warning("bridge_response_lost", response_id=self.response_id, detail=detail)

    # The caller

    def _refused(self, answer: UpstreamAnswer) -> None:
        if answer.status == 200:
            raise UpstreamFailed(Cause.NOT_A_STREAM, "The model server did not answer with a stream of events.")
        self._parts.measures.upstream_failed(Cause.REFUSED)
        if not self.opened.done():
            self.opened.set_result(answer)

    def _refuse(self, refusal: Refusal) -> None:
        for waited_for in (self.opened, self.completion):
            if not waited_for.done():
                waited_for.set_exception(refusal)
                waited_for.exception()  # nobody may wait for it

    def _hand_over(self) -> None:
        """Gives the caller its end before Kafka has acknowledged everything."""
        self.pipe.end(whole=self._failure is None and not self._stopped)
        if self.completion.done() or self._mode is not Mode.WHOLE:
            return
        if self._stopped:
            self._refuse(_stopped())
        elif self._too_large is not None:
            self._refuse(Refusal(502, "completion_too_large", str(self._too_large), NO_RETRY))
        elif (error := self._reader.error) is not None:
            self._refuse(Refusal(502, str(error.get("code")), str(error.get("message")), NO_RETRY))
        elif self._assembly is not None:
            self.completion.set_result(self._assembly.completion)

    def _cancelled(self) -> None:
        self.pipe.end(whole=True)
        refusal = Refusal(409, "cancelled", "The response was cancelled.", NO_RETRY)
        refusal.headers[RESPONSE_ID_HEADER] = self.response_id
        self._refuse(refusal)

    def _settle(self) -> None:
        """Releases the request, ends the pipe and refuses the futures that are still open."""
        self._asked = None
        self._forgotten()
        self.pipe.end(whole=False)
        self._refuse(Refusal(502, UPSTREAM_ERROR, "The response could not be completed.", NO_RETRY))


async def _write_record(writer: ResponseWriter, record: TokenRecord) -> None:
    if record.event == Event.STOP:
        await writer.stop(reason=record.reason or "stop", usage=record.usage, error=record.error)
    else:
        await writer.token(record.text or "", kind=record.kind, part=record.part, part_info=record.part_info)


def _stopped() -> Refusal:
    return Refusal(503, BRIDGE_STOPPED, "The bridge is being stopped.", NO_RETRY)
