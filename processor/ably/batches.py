"""Publishes over Ably's REST batch endpoint: the frames that are ready at one moment are sent in one request.

It is for thousands of responses at once: a realtime connection accepts 50 messages per second, a request 100 channels.
The guarantees are the same, for the same reasons: a lane has one frame in flight, sends it again under the same id
until it is answered, and sends no later frame of the channel before that.

- A request has at most one frame of a channel, because a channel has one sending lane; so requests may overtake each
  other.
- Nothing waits here: `connected()` and the rate limiter hold lanes back *before* they check their lease, and a frame
  is sent in the next turn of the loop. So a frame is never sent later than its lease permitted.
- Source: Ably's documentation of batch publishing (100 channels and 2 MiB per request; each result is independent).
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import structlog
from ably import AblyRest
from ably.util.exceptions import AblyException

from processor.ably.ably import KEY_CHECK, RETRY_REFUSED, AblyOptions, message_of
from processor.ably.answers import UNREADABLE, read_error, read_results, refusal_of
from processor.ably.refusals import Refusal
from processor.clock import Clock
from processor.core.framer import Frame
from processor.core.pacing import Pace
from processor.errors import PublishRefused, PublishRetry, RefusalKind, SettingsError
from processor.ports.realtime import LinkState
from processor.telemetry.retry import Retry

log = structlog.get_logger(__name__)

MAX_CHANNELS = 100
MAX_BYTES = 2 * 1024 * 1024 * 9 // 10
"""Of a request's body, estimated from above."""
FRAME_ROOM = 2048
MAX_REQUESTS = 16
"""In flight at once."""
PROTOCOL_VERSION = "3"
CHECK_DEADLINE = 8.0
CLOSE_DEADLINE = 2.0


class RequestPace:
    """The rate of requests. Every lane gets the same delay, so that their frames are sent together; see `Pace`."""

    def __init__(self, rate: float, now: float) -> None:
        self._pace = Pace(rate, rate / 9, now)

    def delay(self, now: float, *, urgent: bool = False) -> float:
        return self._pace.delay(now, urgent=urgent)

    def spend(self, now: float) -> None:
        """A frame costs nothing: its request does."""

    def spend_request(self, now: float) -> None:
        self._pace.spend(now)

    def slow_down(self, now: float) -> None:
        self._pace.slow_down(now)

    def share(self, now: float) -> float:
        return self._pace.share(now)


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    frame: Frame
    answer: asyncio.Future[None]
    deadline: float
    alone: bool = False
    """It was in a request that was refused as a whole for what one message alone can be refused for."""


class BatchLink:
    """What a realtime `Connection` is to a pool, by requests; takes any number of channels."""

    def __init__(
        self,
        options: AblyOptions,
        pace: RequestPace,
        retry: Retry,
        clock: Clock,
        changed: Callable[[], None],
        new_client: Callable[..., Any] = AblyRest,
    ) -> None:
        self._options = options
        self._retry = retry
        self._clock = clock
        self._changed = changed
        self._new_client = new_client
        self._client: Any = None
        self._key: str | None = None
        self._up = asyncio.Event()
        self._broken = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._waiting: list[Waiting] = []
        self._alone: set[str] = set()
        """Frames that go in a request of their own the next time."""
        self._tasks = asyncio.TaskGroup()
        self._requests = 0
        self.pace = pace
        self.state = LinkState.INITIALIZED
        self.refusal: str | None = None

    def __repr__(self) -> str:
        return f"<BatchLink {self.state} requests={self._requests}>"

    # Being connected: a client whose service answers

    async def run(self) -> None:
        """Until cancelled. Frames whose request is in flight then are left undetermined."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                try:
                    await self._keep_open()
                finally:
                    self._up.clear()
        finally:
            await self._discard()

    async def _keep_open(self) -> None:
        while True:
            if await self._open():
                self._retry.succeeded()
                await self._broken.wait()
            await self._discard()
            await self._wait_for_change(self._retry.delay(RETRY_REFUSED if self.refusal is not None else None))

    async def _open(self) -> bool:
        """Whether the service answers."""
        self._show(LinkState.CONNECTING)
        self._broken.clear()
        try:
            options = self._options.rest()
            self._key = options["key"]
            self._client = self._new_client(**options)
            async with asyncio.timeout(CHECK_DEADLINE):
                await self._client.time()
        except SettingsError as error:
            self.refusal = str(error)
            return False
        except Exception as error:  # noqa: BLE001 - whatever the SDK or its HTTP client raises, it does not answer
            log.info("realtime_unreachable", cause=type(error).__name__)
            return False
        self._up.set()
        self._show(LinkState.CONNECTED)
        return True

    async def _discard(self) -> None:
        self._up.clear()
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_DEADLINE):
                    await client.close()
        self._show(LinkState.DISCONNECTED)

    async def _wait_for_change(self, delay: float) -> None:
        waited = 0.0
        while waited < delay and not (self.refusal is not None and self._key_changed()):
            await asyncio.sleep(min(KEY_CHECK, delay - waited))
            waited += KEY_CHECK

    def _key_changed(self) -> bool:
        try:
            return self._options.key() != self._key
        except SettingsError:
            return False

    def recheck_credentials(self) -> None:
        if self._key_changed():
            self._break()

    def _break(self) -> None:
        self._up.clear()
        self._broken.set()

    def _show(self, state: LinkState) -> None:
        self.state = state
        self._changed()

    async def connected(self) -> None:
        """Wait until the service answers and a request may go."""
        while not (self._up.is_set() and self._room.is_set()):
            await self._up.wait()
            await self._room.wait()

    # Publishing

    async def publish(self, frame: Frame, deadline: float) -> None:
        """Publish once with what else is ready; wait for the answer, `deadline` seconds at most from its sending.

        Raises PublishRetry or PublishRefused.
        """
        if not self._up.is_set():
            raise PublishRetry("the service does not answer")
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._send_waiting)
        waiting = Waiting(frame, loop.create_future(), deadline, frame.id in self._alone)
        self._alone.discard(frame.id)
        self._waiting.append(waiting)
        await waiting.answer

    def _send_waiting(self) -> None:
        waiting = [one for one in self._waiting if not one.answer.done()]
        self._waiting.clear()
        for batch in batches(waiting):
            if self._up.is_set():
                self.pace.spend_request(self._clock.monotonic())
                self._requests += 1
                self._tasks.create_task(self._send(batch))
            else:
                settle(batch, [], PublishRetry("the service does not answer"))
        self._make_room()

    def _make_room(self) -> None:
        if self._requests < MAX_REQUESTS:
            self._room.set()
        else:
            self._room.clear()

    async def _send(self, batch: list[Waiting]) -> None:
        """Every one of the batch gets an answer, whatever happens."""
        failure: Exception = PublishRetry("the request ended without an answer")
        results: list[Exception | None] = []
        try:
            results = await self._request(batch)
        except (PublishRetry, PublishRefused) as error:
            failure = self._of_one(error, batch)
        except Exception as error:  # noqa: BLE001 - whatever an answer makes the SDK raise ends this request alone
            failure = PublishRetry(f"the request broke ({type(error).__name__})")
        finally:
            self._requests -= 1
            settle(batch, results, failure)
            self._make_room()

    def _of_one(self, refusal: Refusal, batch: list[Waiting]) -> Exception:
        """A request of many was refused as a whole: one of them may be to blame, and the others must not fail for it."""
        of_a_message = {RefusalKind.TOO_LARGE, RefusalKind.CHANNEL, RefusalKind.UNEXPLAINED}
        if len(batch) == 1 or refusal.kind not in of_a_message:
            return refusal
        self._alone.update(one.frame.id for one in batch)
        return PublishRetry(f"a request of many was refused ({refusal.code}): each goes alone", code=refusal.code)

    async def _request(self, batch: list[Waiting]) -> list[Exception | None]:
        client = self._client
        if client is None:
            raise PublishRetry("the service does not answer")
        specs = [{"channels": [one.frame.channel], "messages": [message_of(one.frame, self._options)]} for one in batch]
        try:
            async with asyncio.timeout(max(one.deadline for one in batch)):
                answer = await client.request("POST", "/messages", PROTOCOL_VERSION, body=specs)
        except AblyException as error:
            raise self._noted(refusal_of(error.code, error.status_code, error.message)) from None
        except TimeoutError:
            self._break_if(client)
            raise PublishRetry("no answer in time") from None
        except UNREADABLE as error:
            raise PublishRetry(f"the answer can't be read ({type(error).__name__})") from error
        except Exception as error:
            self._break_if(client)
            raise PublishRetry(f"the request broke ({type(error).__name__})") from error
        results = read_results(answer.items, answer.status_code, [one.frame.channel for one in batch])
        if results is None:
            raise self._noted(read_error(answer.items, answer.status_code))
        if any(result is None for result in results):
            self.refusal = None
        return results

    def _noted(self, refusal: Refusal) -> Refusal:
        if refusal.kind is RefusalKind.CREDENTIALS:
            self.refusal = f"the realtime service refuses the key ({refusal.code}): {refusal}"
        return refusal

    def _break_if(self, client: Any) -> None:
        if client is self._client:
            self._break()


def settle(batch: list[Waiting], results: list[Exception | None], failure: Exception) -> None:
    """Sets each result; if there are no results, sets the failure."""
    for index, one in enumerate(batch):
        result = results[index] if results else failure
        if one.answer.done():
            continue
        if result is None:
            one.answer.set_result(None)
        else:
            one.answer.set_exception(result)


def batches(waiting: Iterable[Waiting]) -> list[list[Waiting]]:
    """Split by the limits of a request, in order."""
    split: list[list[Waiting]] = []
    size = MAX_BYTES
    for one in waiting:
        # A character has at most four bytes, and escapes none: the format is binary.
        characters = len(one.frame.data or "") + sum(map(len, one.frame.headers.values()))
        bytes_ = 4 * characters + FRAME_ROOM
        if not split or len(split[-1]) == MAX_CHANNELS or size + bytes_ > MAX_BYTES or one.alone or split[-1][-1].alone:
            split.append([])
            size = 0
        split[-1].append(one)
        size += bytes_
    return split
