"""The connection to the frames topic, as a link of `processor.ports.realtime`: one idempotent producer, replaced when
it fails.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from processor.clock import Clock
from processor.core.backoff import Backoff
from processor.core.framer import Frame
from processor.core.pacing import Pace
from processor.direct.encoding import frame_value
from processor.errors import KafkaUnavailable, PublishRefused, PublishRetry, RecordTooLarge, RefusalKind, WriteForbidden
from processor.ports.realtime import LinkState
from processor.telemetry.retry import Retry

MAX_FRAME_BYTES = 64 * 1024
"""As with Ably, so that a response is cut alike by either."""
RETRY = Backoff(first=0.2, cap=3.0)
TOO_LARGE = 413
"""The code of a frame that is refused for its size."""
FORBIDDEN = 403
"""The code of every frame while Kafka does not let this publisher write."""

log = structlog.get_logger(__name__)


class FrameRecords(Protocol):
    """See `processor.kafka.frames_writer.FramesWriter`."""

    async def start(self) -> None: ...
    async def write(self, key: str, value: bytes, written_ms: int) -> None: ...
    async def stop(self) -> None: ...


class DirectLink:
    """See `processor.ports.realtime.Link`."""

    def __init__(self, writer: FrameRecords, clock: Clock, retry: Retry, changed: Callable[[], None]) -> None:
        self._writer = writer
        self._clock = clock
        self._retry = retry
        self._changed = changed
        self._up = asyncio.Event()
        self._broken = asyncio.Event()
        self._state = LinkState.INITIALIZED
        self.refusal: str | None = None
        self.pace = Pace(0.0, 1.0, clock.monotonic())

    def __repr__(self) -> str:
        return f"<DirectLink {self._state}>"

    @property
    def state(self) -> LinkState:
        return self._state

    async def run(self) -> None:
        try:
            while True:
                self._show(LinkState.CONNECTING)
                if await self._use_one_producer() and self.refusal is None:
                    self._retry.succeeded()
                self._show(LinkState.DISCONNECTED)
                await self._writer.stop()
                await self._retry.pause()
        finally:
            self._up.clear()
            await self._writer.stop()
            self._show(LinkState.CLOSED)

    async def _use_one_producer(self) -> bool:
        """Runs a producer until it fails. Returns whether it had started."""
        self._broken.clear()
        try:
            await self._writer.start()
        except KafkaUnavailable as error:
            self.refusal = str(error) if isinstance(error, WriteForbidden) else None
            log.info("frames_topic_unreachable", cause=str(error))
            return False
        self.refusal = None
        self._up.set()
        self._show(LinkState.CONNECTED)
        await self._broken.wait()
        return True

    def _replace_producer(self) -> None:
        """Nothing more is sent by this one: records after a lost one could not keep its numbers."""
        self._up.clear()
        self._broken.set()

    async def connected(self) -> None:
        await self._up.wait()

    async def publish(self, frame: Frame, deadline: float) -> None:
        if not self._up.is_set():
            raise PublishRetry("the producer is not connected")
        now = self._clock.wall_ms()
        value = frame_value(frame, now)
        if len(value) > MAX_FRAME_BYTES:
            reason = f"a frame has {len(value)} bytes; the largest has {MAX_FRAME_BYTES}"
            raise PublishRefused(reason, kind=RefusalKind.TOO_LARGE, code=TOO_LARGE)
        try:
            async with asyncio.timeout(deadline):
                await self._writer.write(frame.channel, value, now)
        except RecordTooLarge as error:
            raise PublishRefused(str(error), kind=RefusalKind.TOO_LARGE, code=TOO_LARGE) from error
        except TimeoutError:
            self._replace_producer()
            raise PublishRetry("no acknowledgement in time") from None
        except WriteForbidden as error:
            self.refusal = str(error)
            self._replace_producer()
            raise PublishRetry(self.refusal, kind=RefusalKind.CREDENTIALS, code=FORBIDDEN) from error
        except KafkaUnavailable as error:
            self._replace_producer()
            raise PublishRetry(str(error)) from error

    def recheck_credentials(self) -> None:
        """Does nothing: the producer is replaced after every refusal, and each one reads Kafka's credentials."""

    def _show(self, state: LinkState) -> None:
        self._state = state
        self._changed()
