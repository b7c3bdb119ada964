"""Whatever the service, or something in front of it, answers: it is read, refused clearly or asked again, and ends nothing.

The SDK is the real one; the service answers anything at all once, and rightly from then on.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import msgspec
import pytest
from aiohttp import WSMsgType, web
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from processor.ably.ably import RETRY, AblyOptions, Connection, HistoryReader
from processor.ably.batches import BatchLink, RequestPace
from processor.clock import Clock
from processor.core.framer import Frame
from processor.core.pacing import Pace
from processor.errors import PublishRefused, PublishRetry
from processor.ports.realtime import Link
from processor.telemetry.retry import Retry
from support.waiting import eventually

Answer = tuple[int, str, bytes]

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
CODES = st.sampled_from([42911, "42911", "TooManyRequests", 40009, 40160, 50003, 0, -1, None, 1e300, True]) | SCALARS
ERRORS = (
    st.fixed_dictionaries({"code": CODES}, optional={"statusCode": CODES, "message": VALUES, "href": VALUES}) | VALUES
)
RESULTS = (
    st.fixed_dictionaries({}, optional={"channel": st.just("c") | SCALARS, "messageId": VALUES, "error": ERRORS})
    | VALUES
)
LISTS = st.lists(RESULTS, max_size=3) | VALUES
SHAPES = (
    st.fixed_dictionaries({"error": ERRORS}, optional={"batchResponse": LISTS, "channel": st.just("c") | VALUES})
    | st.fixed_dictionaries({"results": LISTS}, optional={"successCount": VALUES, "error": ERRORS})
    | RESULTS
)
PAST = st.fixed_dictionaries(
    {},
    optional={
        "id": VALUES,
        "clientId": st.just("ts") | VALUES,
        "name": st.just("token") | VALUES,
        "data": VALUES,
        "encoding": VALUES,
        "extras": st.fixed_dictionaries({}, optional={"headers": st.dictionaries(st.sampled_from(["responseId", "seq", "seqEnd", "offset"]), VALUES)}) | VALUES,
    },
)  # fmt: skip
BODIES = SHAPES | st.lists(SHAPES | PAST, max_size=3)
STATUSES = st.sampled_from([200, 201, 204, 301, 400, 401, 403, 404, 409, 413, 418, 429, 500, 502, 503, 504])
KINDS = st.sampled_from(["application/json", "application/x-msgpack", "text/html", ""])


def packed(value: object) -> bytes:
    return msgspec.msgpack.encode(value)


REFUSALS = st.fixed_dictionaries({"error": st.fixed_dictionaries({"code": CODES})}, optional={"batchResponse": LISTS})
LISTED = st.fixed_dictionaries({"results": LISTS})
ANSWERS = (
    st.tuples(STATUSES, st.just("application/json"), (REFUSALS | LISTED).map(lambda body: json.dumps(body).encode()))
    | st.tuples(STATUSES, st.just("application/json"), BODIES.map(lambda body: json.dumps(body).encode()))
    | st.tuples(STATUSES, st.just("application/x-msgpack"), BODIES.map(packed))
    | st.tuples(STATUSES, KINDS, st.sampled_from([b"", b"<html>502 Bad Gateway</html>", b"null", b"[", b"\xc1"]))
    | st.tuples(STATUSES, KINDS, st.binary(max_size=30))
)

NUMBERS = st.integers(-3, 3) | SCALARS
DETAILS = st.fixed_dictionaries({}, optional={"connectionKey": VALUES, "clientId": VALUES, "maxIdleInterval": NUMBERS})
FRAMES = st.fixed_dictionaries(
    {"action": st.integers(0, 23) | SCALARS},
    optional={
        "msgSerial": NUMBERS,
        "count": NUMBERS,
        "error": ERRORS,
        "res": st.lists(st.fixed_dictionaries({}, optional={"serials": VALUES}) | VALUES, max_size=3) | VALUES,
        "channel": VALUES,
        "connectionId": VALUES,
        "connectionDetails": DETAILS | VALUES,
        "messages": VALUES,
    },
).map(packed) | st.binary(max_size=20) | st.text(max_size=5)  # fmt: skip


@dataclass
class OddService:
    """`answers`: to the next requests; `frames`: what the next publish over a websocket brings."""

    answers: list[Answer] = field(default_factory=list)
    frames: list[bytes | str] = field(default_factory=list)
    port: int = 0

    @property
    def options(self) -> AblyOptions:
        return AblyOptions(key=lambda: "a.b:c", client_id="ts", endpoint=f"127.0.0.1:{self.port}", tls=False)

    async def root(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(timeout=0.1)
        await socket.prepare(request)
        details = {"connectionKey": "k", "maxIdleInterval": 15000}
        await socket.send_bytes(packed({"action": 4, "connectionId": "i", "connectionDetails": details}))
        async for received in socket:
            message = msgspec.msgpack.decode(received.data) if received.type is WSMsgType.BINARY else {}
            if message.get("action") != 15:
                continue
            if not self.frames:
                await socket.send_bytes(packed({"action": 1, "msgSerial": message["msgSerial"], "count": 1}))
            while self.frames:
                frame = self.frames.pop(0)
                await (socket.send_str(frame) if isinstance(frame, str) else socket.send_bytes(frame))
        return socket

    async def batch(self, request: web.Request) -> web.Response:
        specs = msgspec.msgpack.decode(await request.read())
        results = [{"results": [{"channel": spec["channels"][0], "messageId": "1"}]} for spec in specs]
        return self.odd() or web.json_response(results, status=201)

    async def history(self, _: web.Request) -> web.Response:
        return self.odd() or web.json_response([])

    def odd(self) -> web.Response | None:
        if not self.answers:
            return None
        status, kind, body = self.answers.pop(0)
        return web.Response(status=status, body=body, headers={"Content-Type": kind} if kind else {})

    async def time(self, _: web.Request) -> web.Response:
        return web.json_response([int(time.time() * 1000)])

    async def token(self, _: web.Request) -> web.Response:
        now = int(time.time() * 1000)
        told = {"token": "t", "keyName": "a.b", "clientId": "ts", "capability": "{}"}
        return web.json_response({**told, "issued": now, "expires": now + 3_600_000})


@asynccontextmanager
async def odd_service() -> AsyncIterator[OddService]:
    service = OddService()
    app = web.Application()
    app.router.add_get("/", service.root)
    app.router.add_get("/time", service.time)
    app.router.add_post("/messages", service.batch)
    app.router.add_get("/channels/{channel}/messages", service.history)
    app.router.add_post("/keys/{key}/requestToken", service.token)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        service.port = runner.addresses[0][1]
        yield service
    finally:
        await runner.cleanup()


def frame() -> Frame:
    return Frame(channel="c", response_id="r", name="token", id="r/1", data="x", json=False, headers={})


async def published(link: Link, deadline: float) -> bool:
    """Whether it was acknowledged. Nothing but the two exceptions of this package may come."""
    await link.connected()
    try:
        await link.publish(frame(), deadline)
    except (PublishRetry, PublishRefused):
        return False
    return True


async def survives(link: Link, odd: int) -> None:
    """The link goes on through this many odd answers, and publishes when the service is right again."""
    running = asyncio.ensure_future(link.run())
    try:
        async with asyncio.timeout(60):
            for _ in range(odd):
                await published(link, 0.2)
            await eventually(lambda: published(link, 2.0), deadline=60)
        assert not running.done()
    finally:
        running.cancel()
        (ended,) = await asyncio.gather(running, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError), repr(ended)


ODD = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@ODD
@example([(429, "application/json", b'{"error": {"code": "TooManyRequests"}}')])
@example(
    [
        (200, "application/json", b'[{"results": null}]'),
        (400, "application/json", b'{"error": {}, "batchResponse": null}'),
    ]
)
@example([(204, "", b""), (502, "text/html", b"<html>")])
@given(st.lists(ANSWERS, min_size=1, max_size=4))
def test_any_answer_to_a_batch_ends_nothing(answers: list[Answer]) -> None:
    async def run() -> None:
        async with odd_service() as service:
            service.answers = list(answers)
            link = BatchLink(
                service.options,
                RequestPace(0.0, 0.0),
                Retry(RETRY, Random(1).random, lambda: None),
                Clock(),
                lambda: None,
            )
            await survives(link, len(answers))

    asyncio.run(run())


@ODD
@given(ANSWERS)
def test_any_answer_to_a_request_for_a_history_is_a_history_or_none(answer: Answer) -> None:
    async def run() -> None:
        async with odd_service() as service:
            reader = HistoryReader(service.options)
            service.answers = [answer]
            try:
                await reader.read("c", 5.0)
            except PublishRetry:
                pass
            assert not service.answers
            assert (await reader.read("c", 5.0)).ids == frozenset()
            await reader.close()

    asyncio.run(run())


@settings(ODD, max_examples=30)
@given(st.lists(FRAMES, min_size=1, max_size=4))
def test_any_frame_of_the_service_ends_nothing(frames: list[bytes | str]) -> None:
    async def run() -> None:
        async with odd_service() as service:
            service.frames = list(frames)
            link = Connection(
                service.options, Pace(0.0, 0.0, 0.0), Retry(RETRY, Random(1).random, lambda: None), lambda: None
            )
            await survives(link, 1)

    asyncio.run(run())


@pytest.mark.parametrize(
    "error", [{"code": "x"}, {"code": [1]}, {}, {"code": 40160.0, "statusCode": "401"}, "no", None]
)
async def test_a_refusal_of_a_publish_with_odd_fields_is_a_refusal_or_asked_again(error: object) -> None:
    async with odd_service() as service:
        service.frames = [packed({"action": 2, "msgSerial": 0, "count": 1, "error": error})]
        await survives(
            Connection(
                service.options, Pace(0.0, 0.0, 0.0), Retry(RETRY, Random(1).random, lambda: None), lambda: None
            ),
            1,
        )
