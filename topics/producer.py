"""The producer for model services: one block per response, one call per token.

    async with TokenProducer("localhost:9092") as producer:
        async with producer.response(channel="chat:42", metadata={"model": "m"}) as response:
            async for token in model:
                await response.token(token)

Guarantees:

* Records of a response are in the log in the order of the calls, each once, numbered from 0, on the partition of its
  channel (murmur2, as the Java client).
* No token is held back to fill a batch.
* Unacknowledged records are bounded: `token()` waits at the bound.
* A response that was begun gets a `stop`, however its block is left, if Kafka can be reached in time.
* A record on the `controls` topic that cancels a response leaves its block; the `stop` reason is `cancelled` (`Scope`).
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NoReturn, Self

from aiokafka.errors import KafkaError

from topics.cancellation import Scope
from topics.codec import encode_token_event
from topics.controls_reader import ControlsReader
from topics.delivery import Delivery, DeliveryError, RecordTooLargeError, Window, uncancelled
from topics.limits import (
    KIND_PATTERN,
    MAX_PART_CHARACTERS,
    MAX_TEXT_BYTES,
    Invalid,
    check_channel,
    check_part,
    check_response_id,
)
from topics.objects import write_object
from topics.open_blocks import Block, OpenBlocks
from topics.records import STATUS_BY_REASON, TEXT_PART, EndReason, Event, JsonObject
from topics.token_provider import retrying_tokens

__all__ = ["DeliveryError", "RecordTooLargeError", "ResponseWriter", "TokenProducer"]

_MAX_REQUEST_BYTES = 2 * 1024 * 1024  # a text at its limit, escaped, with room; the topic's own limit may be lower
_MAX_MESSAGE_CHARACTERS = 1000
_RefusedStop = tuple[ValueError, str]
_CLIENT_OPTIONS = frozenset(
    {
        "client_id",
        "connections_max_idle_ms",
        "metadata_max_age_ms",
        "request_timeout_ms",
        "retry_backoff_ms",
        "sasl_kerberos_domain_name",
        "sasl_kerberos_service_name",
        "sasl_mechanism",
        "sasl_oauth_token_provider",
        "sasl_plain_password",
        "sasl_plain_username",
        "security_protocol",
        "ssl_context",
    }
)
"""Of a producer's options, those that a consumer takes too."""


class TokenProducer:
    """Connects when its block is entered. Leaving the block waits for acknowledgements.

    `max_unacknowledged` and `max_unacknowledged_bytes` bound all responses of this producer together.
    `deadline` (seconds) bounds connecting, and each wait for acknowledgements when a block is left.
    `compression` is None, `lz4`, `snappy`, `gzip` or `zstd`.
    `kafka` is for aiokafka: `security_protocol`, `ssl_context` and so on. A failing token provider is asked again.

    Records on `controls_topic` cancel responses; None reads none. While that topic cannot be read, production
    continues, and `controls_trouble` has the reason.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str = "tokenstream.tokens",
        *,
        compression: str | None = None,
        max_unacknowledged: int = 10_000,
        max_unacknowledged_bytes: int = 16 * 1024 * 1024,
        deadline: float = 30.0,
        controls_topic: str | None = "tokenstream.controls",
        **kafka: Any,
    ) -> None:
        if max_unacknowledged < 1 or max_unacknowledged_bytes < 1:
            raise ValueError("max_unacknowledged and max_unacknowledged_bytes must be above 0")
        kafka = retrying_tokens(kafka)
        self.topic = topic
        self.deadline = deadline
        self._servers = bootstrap_servers
        options = {
            "linger_ms": 0,
            "max_batch_size": 128 * 1024,
            "max_request_size": _MAX_REQUEST_BYTES,
            "compression_type": compression,
        } | kafka
        self._window = Window(max_unacknowledged, max_unacknowledged_bytes)
        self._delivery = Delivery(bootstrap_servers, topic, options, self._window, deadline)
        self._blocks = OpenBlocks()
        self._controls: ControlsReader | None = None
        self._reading: asyncio.Task[NoReturn] | None = None
        if controls_topic is not None:
            client = {name: value for name, value in kafka.items() if name in _CLIENT_OPTIONS}
            client["bootstrap_servers"] = bootstrap_servers
            self._controls = ControlsReader(lambda: client, controls_topic, self._blocks.obey)

    @property
    def unacknowledged(self) -> int:
        """The number of records passed to Kafka and not yet acknowledged; never above `max_unacknowledged`."""
        return self._window.records

    @property
    def controls_trouble(self) -> str | None:
        """Why no cancel can arrive now, as a sentence; None while the controls topic is read, or is not configured."""
        return None if self._controls is None else self._controls.trouble

    async def __aenter__(self) -> Self:
        """Connects. Raises DeliveryError if no broker answers or the topic does not exist."""
        await self._delivery.connect()
        if self._controls is not None:
            self._reading = asyncio.create_task(self._controls.run())
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if not await uncancelled(self._close()) and error is None:
            raise DeliveryError(
                f"{self.unacknowledged} records were not acknowledged within {self.deadline:g} s of closing; "
                f"is Kafka at {self._servers} reachable, and topic {self.topic} there?"
            )

    async def check(self, channel: str, seconds: float = 5.0) -> None:
        """Raises DeliveryError unless the broker that takes the records of this channel answers within `seconds`."""
        await self._delivery.check(channel.encode(), seconds)

    async def _close(self) -> bool:
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
        in_time = await self._delivery.close()
        if reading is not None:
            await asyncio.wait({reading})
        return in_time

    def response(
        self,
        channel: str,
        *,
        metadata: JsonObject | None = None,
        response_id: str | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> "ResponseWriter":
        """Returns a response, to be entered as a block. Without `response_id` it gets a random one.

        `headers` are the Kafka headers of its `start`: `traceparent` and `tracestate` continue a trace.
        Raises ValueError if the channel, the metadata or the id is not allowed.
        """
        chosen = str(uuid.uuid4()) if response_id is None else response_id
        _refuse(check_response_id(chosen))
        _refuse(check_channel(channel))
        return ResponseWriter(self, self._delivery, channel, chosen, _object("metadata", metadata), headers)

    @contextlib.contextmanager
    def cancellable(self, channel: str, response_id: str) -> Iterator[Scope]:
        """Returns a block for the work that precedes the block of a response. It is not async, and writes nothing.

        A cancel of the response cancels the task in the block, at once if the cancel came up to a minute before it.
        The block absorbs that, and then `cancelled` of its value is true. Any other exception continues.
        Enter the block of the response afterwards in either case: a cancelled response, too, has a start and a stop.
        """
        block = Block(response_id, channel)
        self._blocks.enter(block)
        try:
            yield block.scope
        except BaseException as error:
            if not self._blocks.leave(block, error):
                raise
        else:
            self._blocks.leave(block, None)


class ResponseWriter:
    """One response, open within its block. Entering writes `start`; leaving writes `stop` and waits for acknowledgements.

    If an exception leaves the block, the stop's reason is `error`, with the exception's type as code and its message;
    for a cancellation it is `cancelled`. Calls may come from several tasks; records are written in the order of the
    calls.

    A cancel of the response cancels the task that entered the block, wherever it waits in it. Leaving the block
    absorbs that: execution continues after the block, and `cancelled` is true. Any other cancellation continues. Once
    the response is cancelled, `token` and `stop` raise CancelledError. A cancel after `stop` does nothing.
    """

    def __init__(
        self,
        producer: TokenProducer,
        delivery: Delivery,
        channel: str,
        response_id: str,
        metadata: JsonObject | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        self.channel = channel
        self.response_id = response_id
        self.seq = 0
        """The sequence number of the next record."""
        self._producer = producer
        self._delivery = delivery
        self._metadata = metadata
        self._headers = tuple(headers)
        self._key = channel.encode()
        self._turn = asyncio.Lock()
        self._stopped = False
        self._pending = 0
        self._settled = asyncio.Event()
        self._failure: DeliveryError | None = None
        self._refused_stop: _RefusedStop | None = None
        self._block = Block(response_id, channel)
        self._scope = self._block.scope

    @property
    def cancelled(self) -> bool:
        """Whether the response was cancelled by a control record before it ended."""
        return self._scope.cancelled

    def __repr__(self) -> str:
        return f"ResponseWriter({self.response_id}, seq={self.seq}, pending={self._pending}, stopped={self._stopped})"

    async def __aenter__(self) -> Self:
        if self.seq:
            raise RuntimeError(f"response {self.response_id} was begun before: make a new one")
        self._block.began_at = time.monotonic()
        await self._write(Event.START, channel=self.channel, metadata=self._metadata)
        self._producer._blocks.enter(self._block)  # noqa: SLF001 - the two are one
        return self

    async def token(
        self, text: str, *, kind: str | None = None, part: str | None = None, part_info: JsonObject | None = None
    ) -> None:
        """Writes one token. Returns when it is passed to Kafka, not when acknowledged. Waits at the bound.

        `kind` defaults to `text`, `part` to the kind; `part_info` counts on a part's first token.
        Raises ValueError for what a record may not hold (RecordTooLargeError if the topic does not accept a record of
        that size). Nothing is written then, and the response may continue.
        Raises DeliveryError once Kafka has refused a record of this response.
        """
        _check_text(text)
        _check_part(kind, part)
        self._scope.check()
        await self._write(Event.TOKEN, text=text, kind=kind, part=part, part_info=_object("part_info", part_info))

    async def stop(
        self, *, reason: str = EndReason.STOP, usage: JsonObject | None = None, error: JsonObject | None = None
    ) -> None:
        """Ends the response. Leaving the block does so too, with reason `stop`. No token is accepted afterwards.

        Raises ValueError if the reason, `usage` or `error` is not allowed. Nothing is written then, and `stop` may be
        called again.
        If no other stop follows, leaving the block ends the response with the given reason and without the refused
        object, whether the ValueError leaves the block or is caught.
        """
        if reason not in STATUS_BY_REASON:
            raise ValueError(f"reason must be one of {', '.join(STATUS_BY_REASON)}, not {reason!r}")
        try:
            fields = {"usage": _object("usage", usage), "error": _object("error", error)}
            self._scope.check()
            await self._write(Event.STOP, reason=reason, **fields)
        except ValueError as refusal:
            self._refused_stop = (refusal, reason)
            raise

    async def __aexit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        """Raises DeliveryError if a record was not acknowledged, unless another exception is already propagating."""
        absorbed = self._producer._blocks.leave(self._block, error)  # noqa: SLF001 - the two are one
        failure = await uncancelled(self._finish(error))
        if failure is not None and (error is None or absorbed):
            raise failure
        return absorbed

    async def _finish(self, error: BaseException | None) -> DeliveryError | None:
        """Writes the stop unless one was written, and waits for every acknowledgement; both within the deadline."""
        deadline = self._producer.deadline
        try:
            async with asyncio.timeout(deadline):
                if not self._stopped:
                    await self._write_stop(error)
                while self._pending:
                    self._settled.clear()
                    await self._settled.wait()
        except TimeoutError:
            return self._failure or DeliveryError(
                f"response {self.response_id}: {self._pending} records, its stop perhaps among them, were not acknowledged "
                f"within {deadline:g} s"
            )
        except DeliveryError as failure:
            return failure
        return self._failure

    async def _write_stop(self, error: BaseException | None) -> None:
        refusal, intended = self._refused_stop or (None, EndReason.STOP)
        if self.cancelled:
            await self._write(Event.STOP, reason=EndReason.CANCELLED)
            return
        match error:
            case None:
                await self._write(Event.STOP, reason=intended)
            case Exception() if error is refusal:
                await self._write(Event.STOP, reason=intended)
            case Exception():
                shown = {"code": type(error).__name__, "message": str(error)[:_MAX_MESSAGE_CHARACTERS]}
                try:
                    await self._write(Event.STOP, reason=EndReason.ERROR, error=_object("error", shown))
                except RecordTooLargeError:
                    await self._write(Event.STOP, reason=EndReason.ERROR)
            case _:  # cancelled, interrupted, or an abandoned generator
                await self._write(Event.STOP, reason=EndReason.CANCELLED)

    async def _write(self, event: Event, **fields: Any) -> None:
        """Writes the next record. A stop is tried even after a failure, so that the response has an end and a gap."""
        async with self._turn:
            if self._stopped:
                raise RuntimeError(f"response {self.response_id} has ended")
            if self._failure is not None and event is not Event.STOP:
                raise self._failure
            seq, ts = self.seq, time.time_ns() // 1_000_000
            value = encode_token_event(event, self.response_id, seq, ts=ts, **fields)
            try:
                headers = self._headers if event is Event.START else ()
                await self._delivery.send(self._key, value, ts, lambda error: self._settle(seq, error), headers)
            except RecordTooLargeError as error:
                raise RecordTooLargeError(self._explain(seq, error)) from None
            except KafkaError as error:
                raise DeliveryError(self._explain(seq, error)) from error
            self._pending += 1
            self.seq += 1
            self._stopped = event is Event.STOP
            if self._stopped:
                self._scope.close()

    def _settle(self, seq: int, error: Exception | None) -> None:
        self._pending -= 1
        if error is not None and self._failure is None:
            self._failure = DeliveryError(self._explain(seq, error))
            self._failure.__cause__ = error
        self._settled.set()

    def _explain(self, seq: int, error: Exception) -> str:
        return self._delivery.explain(f"record {seq} of response {self.response_id}", error)


def _refuse(wrong: Invalid | None) -> None:
    if wrong is not None:
        raise ValueError(wrong.detail)


def _object(name: str, fields: JsonObject | None) -> JsonObject | None:
    if fields is None:
        return None
    taken = write_object(name, fields)
    if isinstance(taken, Invalid):
        raise ValueError(taken.detail)  # noqa: TRY004 - the type is one of several limits
    return taken


def _check_text(text: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, not {type(text).__name__}")
    # A character has at most 4 bytes: short texts are recognized without encoding them.
    if len(text) * 4 > MAX_TEXT_BYTES and len(text.encode(errors="surrogatepass")) > MAX_TEXT_BYTES:
        raise ValueError(
            f"text is over the limit of 256 KiB ({MAX_TEXT_BYTES} bytes of UTF-8): write it as several tokens"
        )


def _check_part(kind: str | None, part: str | None) -> None:
    if kind is not None and KIND_PATTERN.fullmatch(kind) is None:
        raise ValueError(f"kind must match {KIND_PATTERN.pattern}, and {kind!r} does not")
    if part is not None and not 1 <= len(part) <= MAX_PART_CHARACTERS:
        raise ValueError(f"part must have 1 to {MAX_PART_CHARACTERS} characters, not {len(part)}")
    if part == TEXT_PART and kind not in (None, TEXT_PART):
        raise ValueError(f"part {TEXT_PART!r} is of kind {TEXT_PART!r}, not {kind!r}: name another part")
    _refuse(check_part(part or kind or TEXT_PART, kind or TEXT_PART))
