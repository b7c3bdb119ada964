"""The probe: sends a response as a model service does, and follows it as a reader does, to its record in the store.

Its counts are what an outside observer would see. It affects nothing: a failed probe is a figure and a line in the
log, and readiness does not depend on it.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import pairwise
from random import Random
from typing import Protocol

import structlog

from processor.errors import StoreUnavailable, TokenstreamError
from processor.ports.store import StoredResponse
from processor.reader.frames import Message
from processor.reader.reader import Reader
from processor.telemetry.metrics import Metrics
from topics.producer import TokenProducer
from topics.records import Status

STORE_POLL = 0.1
TICK = 1.0
NUMBER = re.compile(r"<(\d+)>")
TAILS = (" ", "é ", "\U0001f600 ", "日本 ")
"""After the numbers: characters of one to four bytes, and of one and two UTF-16 units."""

log = structlog.stdlib.get_logger("tokenstream.probe")


class Result(StrEnum):
    """Values of `probe_responses_total{result}`, described in `processor.telemetry.metrics`."""

    OK = "ok"
    UNSENT = "unsent"
    INCOMPLETE = "incomplete"
    GARBLED = "garbled"
    NOT_STORED = "not_stored"
    STORED_DIFFERS = "stored_differs"


class ProbedChannel(Protocol):
    """A subscription. `next` returns None if nothing arrived; a value that is not a Message reports that some may
    have been missed.
    """

    async def next(self, within: float) -> object: ...
    async def history(self) -> list[Message]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`tokens` tokens, one every `pause` seconds; a probe every `every` seconds, each finished within `deadline`."""

    tokens: int = 20
    pause: float = 0.05
    every: float = 60.0
    deadline: float = 30.0


@dataclass(slots=True)
class Sent:
    """One probe, and what a reader has of it. Pure: time is `now`, in seconds, monotonic."""

    response_id: str
    reader: Reader
    made_at: list[float] = field(default_factory=list)
    stopped_at: float = 0.0
    text: str = ""
    seen: set[int] = field(default_factory=set)

    def next_token(self, now: float) -> str:
        number = len(self.made_at)
        token = f"<{number}>{TAILS[number % len(TAILS)]}"
        self.made_at.append(now)
        self.text += token
        return token

    def receive(self, message: Message) -> None:
        """Receives a message. Responses of other processes that probe the same channel are dropped at once."""
        for event in self.reader.feed(message):
            if event.response_id != self.response_id:
                self.reader.drop(event.response_id)

    def arrived(self, now: float) -> list[float]:
        """How long each token that is new in the reader's text was on its way."""
        new = set(self.numbers()) - self.seen
        self.seen |= new
        return [now - self.made_at[number] for number in new if number < len(self.made_at)]

    def numbers(self) -> list[int]:
        response = self.reader.responses.get(self.response_id)
        return [int(number) for number in NUMBER.findall(response.text)] if response else []

    @property
    def stopped(self) -> bool:
        response = self.reader.responses.get(self.response_id)
        return response is not None and response.finished

    @property
    def misses_something(self) -> bool:
        return self.response_id in self.reader.needs()

    def judge(self) -> "Judgement":
        """Returns what is wrong with the received text. What has not arrived yet, with nothing after it, is late and
        not lost.
        """
        self.reader.give_up(self.response_id)
        shown = self.numbers()
        last = len(self.made_at) - 1 if self.stopped else max(shown, default=-1)
        firsts = list(dict.fromkeys(shown))
        return Judgement(
            lost=len(set(range(last + 1)) - set(shown)),
            repeated=len(shown) - len(firsts),
            out_of_order=sum(late < early for early, late in pairwise(firsts)) + self.reader.counts.reordered,
            altered=self.stopped and self._shown_text() != self.text,
        )

    def _shown_text(self) -> str:
        return self.reader.responses[self.response_id].text

    def equals(self, stored: StoredResponse) -> bool:
        record = stored.record
        texts = [part.text for part in record.parts]
        return record.status is Status.COMPLETE and texts == [self.text] and record.tokens == len(self.made_at)


@dataclass(frozen=True, slots=True)
class Judgement:
    lost: int
    repeated: int
    out_of_order: int
    altered: bool

    @property
    def clean(self) -> bool:
        return not (self.lost or self.repeated or self.out_of_order or self.altered)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeParts:
    """`producer` and `follow` are called for each probe; `forget` removes a finished probe from the store."""

    channel: str
    client_id: str
    producer: Callable[[], TokenProducer]
    follow: Callable[[], AbstractAsyncContextManager[ProbedChannel]]
    stored: Callable[[str], Awaitable[StoredResponse | None]]
    forget: Callable[[str], Awaitable[None]]
    metrics: Metrics
    random: Random


class Probe:
    def __init__(self, parts: ProbeParts, plan: Plan = Plan()) -> None:
        self._parts = parts
        self._plan = plan
        self._metrics = parts.metrics

    async def run(self) -> None:
        """Probes at once and then once per interval, without end. Raises nothing."""
        while True:
            began = time.monotonic()
            result = await self.once()
            rest = self._plan.every - (time.monotonic() - began)
            if result is not Result.OK:
                log.warning("probe_not_ok", result=str(result))
            # Processes started together should not all probe at the same moment.
            await asyncio.sleep(max(0.0, rest) * self._parts.random.uniform(0.9, 1.1))

    async def once(self) -> Result:
        try:
            result = await self._probe()
        except TokenstreamError as error:
            log.warning("probe_unsent", cause=str(error) or type(error).__name__)
            result = Result.UNSENT
        except Exception as error:  # a bug here must not take live text with it
            log.exception("probe_failed", error=type(error).__name__)
            result = Result.UNSENT
        self._metrics.probe_responses.labels(str(result)).inc()
        if result is Result.OK:
            self._metrics.probe_last_ok.set_to_current_time()
        return result

    async def _probe(self) -> Result:
        sent = Sent(f"probe-{uuid.uuid4()}", Reader(self._parts.client_id))
        deadline = time.monotonic() + self._plan.deadline
        async with self._parts.follow() as followed:
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._receive(sent, followed, deadline))
                    await self._send(sent)
            except* TokenstreamError as errors:
                raise errors.exceptions[0] from None
        judgement = sent.judge()
        self._count(judgement)
        if not judgement.clean:
            log.error("probe_garbled", response=sent.response_id, **asdict(judgement))
            return Result.GARBLED
        return await self._look_into_store(sent, deadline) if sent.stopped else Result.INCOMPLETE

    async def _send(self, sent: Sent) -> None:
        async with (
            self._parts.producer() as producer,
            producer.response(self._parts.channel, response_id=sent.response_id, metadata={"probe": True}) as response,
        ):
            for _ in range(self._plan.tokens):
                await response.token(sent.next_token(time.monotonic()))
                await asyncio.sleep(self._plan.pause)
            sent.stopped_at = time.monotonic()

    async def _receive(self, sent: Sent, followed: ProbedChannel, deadline: float) -> None:
        while not sent.stopped and (left := deadline - time.monotonic()) > 0:
            item = await followed.next(min(TICK, left))
            if isinstance(item, Message):
                sent.receive(item)
            elif sent.misses_something:
                await _repair(sent, followed)
            for seconds in sent.arrived(time.monotonic()):
                self._metrics.probe_tokens.inc()
                self._metrics.probe_seconds.observe(seconds)

    def _count(self, judgement: Judgement) -> None:
        self._metrics.probe_lost.inc(judgement.lost)
        self._metrics.probe_repeated.inc(judgement.repeated)
        self._metrics.probe_out_of_order.inc(judgement.out_of_order)

    async def _look_into_store(self, sent: Sent, deadline: float) -> Result:
        while time.monotonic() < deadline:
            stored = await self._stored(sent.response_id)
            if stored is not None and stored.record.finished:
                self._metrics.probe_store_seconds.observe(time.monotonic() - sent.stopped_at)
                if not sent.equals(stored):
                    log.error("probe_stored_differs", response=sent.response_id)
                    return Result.STORED_DIFFERS
                await self._forget(sent.response_id)
                return Result.OK
            await asyncio.sleep(STORE_POLL)
        return Result.NOT_STORED

    async def _stored(self, response_id: str) -> StoredResponse | None:
        try:
            return await self._parts.stored(response_id)
        except StoreUnavailable:
            return None

    async def _forget(self, response_id: str) -> None:
        try:
            await self._parts.forget(response_id)
        except Exception as error:  # noqa: BLE001 - one probe more in the store does no harm
            log.info("probe_not_removed", response=response_id, error=type(error).__name__)


async def _repair(sent: Sent, followed: ProbedChannel) -> None:
    """As readers do; where the key may not read the history, what is missing stays missing."""
    try:
        past = await followed.history()
    except TokenstreamError as error:
        log.info("probe_history_unavailable", cause=str(error))
    else:
        sent.reader.replay(past)
