"""`POST /v1/responses/{responseId}/cancel`: asks the producer of the response to end it.

A cancel is a request: the log of tokens decides.
It is written to the `controls` topic and acknowledged before the caller gets an answer.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import orjson
import structlog
from aiohttp import web

from processor.api.access import CANCEL, READ, Grant
from processor.api.errors import bad_request, forbidden, not_found, too_many, unavailable
from processor.api.responses import Loading, Responses
from processor.api.sending import Answer
from processor.clock import Clock
from processor.errors import KafkaUnavailable, StoreUnavailable
from processor.ports.controls import Controls
from processor.ports.store import ResponseStore, Summary
from processor.telemetry.metrics import Metrics
from topics.controls import MAX_CONTROL_REASON, ControlEvent, ControlRecord
from topics.limits import check_channel, check_response_id

MAX_BODY_BYTES = 4096
BURST_SECONDS = 10
"""Seconds. The burst of a credential that made no requests is its rate multiplied by this."""
MAX_CREDENTIALS = 10_000
"""Credentials whose rate is tracked. Above it, the one with the oldest request is forgotten."""

log = structlog.stdlib.get_logger("tokenstream.api")


@dataclass(frozen=True, slots=True)
class CancelBody:
    channel: str | None = None
    reason: str | None = None


async def read_body(request: web.Request) -> CancelBody:
    """Raises ApiError 400 where it is not what a cancel takes."""
    body = bytearray()
    try:
        while chunk := await request.content.readany():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise bad_request(f"The body is over {MAX_BODY_BYTES} bytes.")
    except web.RequestPayloadError:
        raise bad_request("The body is not in the encoding that its headers name.") from None
    try:
        fields = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError:
        fields = None
    if not isinstance(fields, dict):
        raise bad_request("The body must be a JSON object, such as {}, or empty.")
    channel, reason = fields.get("channel"), fields.get("reason")
    if channel is not None and (not isinstance(channel, str) or (check_channel(channel))):
        raise bad_request("`channel` must be the name of a channel.")
    if reason is not None and (not isinstance(reason, str) or len(reason) > MAX_CONTROL_REASON):
        raise bad_request(f"`reason` must be a string of at most {MAX_CONTROL_REASON} characters.")
    return CancelBody(channel, reason)


class Cancels:
    """Decides whether the caller may, and writes the record. Without `controls` nothing can be cancelled.

    `rate` is how many cancels a second one credential may ask for; 0 is no limit.
    """

    def __init__(
        self,
        store: ResponseStore,
        responses: Responses,
        controls: Controls | None,
        metrics: Metrics,
        *,
        rate: float,
        clock: Clock | None = None,
    ) -> None:
        self._store = store
        self._responses = responses
        self._controls = controls
        self._outcomes = metrics.cancels
        self._rates = Rates(rate)
        self._clock = clock or Clock()

    async def cancel(self, grant: Grant, caller: str, response_id: str, body: CancelBody) -> Loading:
        """`caller` is the credential itself. Raises ApiError 400, 403, 404, 429 and 503."""
        if wrong := check_response_id(response_id):
            raise bad_request(f"The path names no response: {wrong.detail}.")
        if not self._rates.allow(caller):
            raise too_many("This credential asks for too many cancels (API_CANCEL_RATE). Try again later.")
        if body.channel is not None:
            _require(grant, body.channel)
        found = await self._found(grant, response_id, body.channel)
        if found is not None:
            _require(grant, found.channel)
            if found.finished:
                self._outcomes.labels("late").inc()
                return self._responses.ended(found, whole=grant.allows(READ, found.channel))
        channel = body.channel if found is None else found.channel
        if channel is None:
            self._outcomes.labels("unknown").inc()
            raise not_found("There is no such response yet. Give its channel to cancel it before its start.")
        await self._write(ControlRecord(ControlEvent.CANCEL, response_id, channel, self._now(), body.reason))
        log.info("response_cancel_requested", responseId=response_id, credential=grant.credential)
        answer = orjson.dumps({"responseId": response_id, "state": "requested"})

        async def accepted() -> Answer:
            return Answer(iter((answer,)), len(answer), 0, status=202)

        return Loading(0, accepted)

    def _now(self) -> int:
        return self._clock.wall_ms()

    async def _found(self, grant: Grant, response_id: str, channel: str | None) -> Summary | None:
        """What is known of the response, as far as the caller may know it. A cancel with a channel needs no store."""
        try:
            found = await self._store.summary(response_id)
        except StoreUnavailable:
            if channel is None:
                raise
            log.warning("api_store_unavailable", route="cancel", detail="the cancel is written without it")
            return None
        if found is None or channel in (None, found.channel):
            return found
        if grant.allows(CANCEL, found.channel) or grant.allows(READ, found.channel):
            raise not_found("The response of this id is in another channel.")
        return None  # an error would disclose that the id exists; a cancel for another channel has no effect

    async def _write(self, record: ControlRecord) -> None:
        if self._controls is None:
            raise unavailable("This server was started without Kafka, where a cancel is written.")
        try:
            await self._controls.write(record)
        except KafkaUnavailable as error:
            raise unavailable(
                f"It is not known whether the cancel arrives: {error}. Send the request again."
            ) from error


class Rates:
    """How often each caller asked lately: a bucket of tokens each, `MAX_CREDENTIALS` of them."""

    def __init__(self, rate: float, clock: Callable[[], float] = monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._left: OrderedDict[int, tuple[float, float]] = OrderedDict()

    def allow(self, caller: str) -> bool:
        if not self._rate:
            return True
        key, now, most = hash(caller), self._clock(), max(1.0, self._rate * BURST_SECONDS)
        left, since = self._left.pop(key, (most, now))
        left = min(most, left + (now - since) * self._rate)
        allowed = left >= 1
        self._left[key] = (left - allowed, now)
        if len(self._left) > MAX_CREDENTIALS:
            self._left.popitem(last=False)
        return allowed


def _require(grant: Grant, channel: str) -> None:
    if not grant.allows(CANCEL, channel):
        raise forbidden(f"The credential does not grant `{CANCEL}` on this channel, which a cancel needs.")
