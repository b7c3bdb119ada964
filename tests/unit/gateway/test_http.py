"""The streams over HTTP: who may read, how many may, and what an EventSource and a proxy need."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import aiohttp
import pytest
from yarl import URL

from devtools.event_readers import Event, read_events
from processor.api.access import Access, fixed_tokens
from processor.config.values import ApiToken
from processor.errors import StoreUnavailable
from processor.gateway.http import KEEP_ALIVE_SECONDS
from processor.ports.store import Page
from support.gateway_log import record_value, start, stop, token
from support.gateway_readers import MemoryRecords
from support.served_gateway import Served, serving
from support.waiting import eventually


async def until(answer: aiohttp.ClientResponse, name: str, written: bytes = b"") -> list[Event]:
    """The events up to the first with this name."""
    async with asyncio.timeout(20):
        while True:
            events = read_events(written)
            if name in [event.name for event in events]:
                return events
            piece = await answer.content.readany()
            assert piece, f"the stream ended after {[event.name for event in events]}"
            written += piece


@pytest.fixture
def heard() -> Iterator[list[str]]:
    """Every line that anything logs."""
    lines: list[str] = []

    class Hearing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.getMessage()} {record.__dict__}")

    handler, root = Hearing(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lines
    root.removeHandler(handler)
    root.setLevel(before)


async def test_a_stream_has_the_headers_that_proxies_and_browsers_need() -> None:
    served = Served()
    async with serving(served) as session, session.get("/v1/channels/chat%3A1/events") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Accel-Buffering"] == "no"
        written = b""
        while b"retry: " not in written:
            written += await answer.content.readany()
        await until(answer, "ready", written)


async def test_frames_arrive_as_they_are_read() -> None:
    served = Served()
    async with serving(served) as session, session.get("/v1/channels/chat%3A1/events") as answer:
        await until(answer, "ready")
        served.publish(start(), token(1, 0, "Hel"))
        events = await until(answer, "token")
        assert events[-1].data["data"] == "Hel"
        assert served.clients() == 1
        assert served.metrics.registry.get_sample_value("tokenstream_gateway_events_total") == 3
    await eventually(lambda: served.clients() == 0)


async def test_several_channels_are_one_stream() -> None:
    served = Served()
    served.publish(start("a", "x/1"), start("b", "y"), start("c", "z"))
    async with serving(served) as session, session.get("/v1/events?channel=x%2F1&channel=y") as answer:
        events = await until(answer, "ready")
        assert {event.data["channel"] for event in events[:-1]} == {"x/1", "y"}


async def test_a_reader_resumes_with_last_event_id() -> None:
    served = Served()
    served.publish(start(), token(1, 0, "a"))
    async with serving(served) as session:
        async with session.get("/v1/channels/chat%3A1/events") as answer:
            last_id = (await until(answer, "ready"))[-1].id
        served.publish(token(2, 1, "b"))
        async with session.get("/v1/channels/chat%3A1/events", headers={"Last-Event-ID": str(last_id)}) as answer:
            events = await until(answer, "token")
            assert [event.data["data"] for event in events] == ["b"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/events",
        "/v1/events?channel=",
        "/v1/events?" + "&".join(f"channel={number}" for number in range(101)),
        "/v1/channels/a/events?limit=-1",
        "/v1/channels/a/events?limit=501",
        "/v1/channels/a/events?other=1",
        "/v1/channels/%ff/events",
        "/v1/channels/" + "a" * 2000 + "/events",
        "/v1/responses/r/events?format=xml",
    ],
)
async def test_what_can_not_be_asked_is_refused(path: str) -> None:
    async with serving(Served()) as session, session.get(URL(path, encoded=True)) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["code"] == "bad_request"


async def test_other_paths_are_none_of_the_gateways() -> None:
    async with serving(Served()) as session:
        for path in ("/v1/responses/r", "/v1/events/x", "/v1"):
            async with session.get(path) as answer:
                assert answer.status == 404


async def test_other_methods_are_refused_and_a_preflight_is_answered() -> None:
    async with serving(Served()) as session:
        async with session.post("/v1/channels/a/events") as answer:
            assert answer.status == 405
            assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"
            assert answer.headers["Cache-Control"] == "no-store"
        headers = {"Origin": "https://app.example", "Access-Control-Request-Headers": "authorization,last-event-id"}
        async with session.options("/v1/channels/a/events", headers=headers) as answer:
            assert answer.status == 204
            assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"
            assert answer.headers["Access-Control-Allow-Headers"] == "authorization,last-event-id"
        async with session.head("/v1/channels/a/events", headers=headers) as answer:
            assert answer.status == 200
            assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"


TOKENS = Access(open=False, tokens=fixed_tokens(ApiToken("secret-of-the-reader", "chat:*", read_only=True)))


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/channels/chat%3A1/events", {}, 401),
        ("/v1/channels/chat%3A1/events", {"Authorization": "Bearer wrong"}, 401),
        ("/v1/channels/chat%3A1/events", {"Authorization": "Bearer secret-of-the-reader"}, 200),
        ("/v1/channels/chat%3A1/events?access_token=secret-of-the-reader", {}, 200),
        ("/v1/channels/chat%3A1/events?access_token=wrong-as-can-be", {}, 401),
        ("/v1/channels/other/events?access_token=secret-of-the-reader", {}, 403),
        ("/v1/events?channel=chat%3A1&channel=other&access_token=secret-of-the-reader", {}, 403),
        ("/v1/responses/r1/events?access_token=secret-of-the-reader", {}, 200),
        ("/v1/responses/r2/events?access_token=secret-of-the-reader", {}, 404),
        ("/v1/channels/chat%3A1/events", {"Last-Event-ID": "p1.0-1"}, 401),
    ],
)
async def test_a_credential_is_asked_for_on_every_connection(
    path: str, headers: dict[str, str], status: int, heard: list[str]
) -> None:
    served = Served(access=TOKENS)
    served.publish(start(), start("r2", "other"))
    async with serving(served) as session:
        async with session.get(URL(path, encoded=True), headers=headers) as answer:
            assert answer.status == status
        async with session.get("/metrics") as metrics:
            shown = await metrics.text()
    for secret in ("secret-of-the-reader", "wrong-as-can-be"):
        assert secret not in shown
        # The test's own client, aiohttp, logs what it requests.
        assert not [line for line in heard if secret in line and "aiohttp.client" not in line]


async def test_no_more_readers_than_allowed_are_taken() -> None:
    served = Served(max_clients=1)
    async with serving(served) as session, session.get("/v1/channels/a/events") as first:
        await until(first, "ready")
        async with session.get("/v1/channels/a/events") as second:
            assert second.status == 503
            assert int(second.headers["Retry-After"]) > 0


async def test_nobody_is_taken_before_the_log_was_read() -> None:
    served = Served(caught_up=False)
    async with serving(served) as session, session.get("/v1/channels/a/events") as answer:
        assert answer.status == 503
        assert "Retry-After" in answer.headers


async def test_a_store_that_is_down_is_503_where_it_is_needed() -> None:
    served = Served()
    served.publish(start())
    served.store.failure = StoreUnavailable("down")
    async with serving(served) as session:
        async with session.get("/v1/channels/chat%3A1/events") as answer:
            assert answer.status == 503
        async with session.get("/v1/channels/chat%3A1/events", headers={"Last-Event-ID": "p1.0-1"}) as answer:
            assert answer.status == 200


async def test_a_quiet_stream_has_a_comment_every_fifteen_seconds() -> None:
    served = Served()
    async with serving(served) as session, session.get("/v1/channels/a/events") as answer:
        await until(answer, "ready")
        for _ in range(2):
            served.now += KEEP_ALIVE_SECONDS
            written = b""
            async with asyncio.timeout(20):
                while b"\n\n" not in written:
                    written += await answer.content.readany()
            assert written == b": keep-alive\n\n"


async def test_an_idle_reader_learns_its_position_now_and_then() -> None:
    served = Served()
    async with serving(served) as session, session.get("/v1/channels/a/events") as answer:
        await until(answer, "ready")
        served.publish(start("r", "other"))
        written = b""
        async with asyncio.timeout(30):
            while b"id: " not in written:
                served.now += 120
                written += await answer.content.readany()
        assert b"id: p1.0-1\n\n" in written
        assert read_events(written) == []


async def test_stopping_says_bye_and_takes_nobody() -> None:
    served = Served()
    async with serving(served) as session, session.get("/v1/channels/a/events") as answer:
        await until(answer, "ready")
        draining = asyncio.create_task(served.events.drain(10.0))
        await until(answer, "bye")
        assert await answer.content.read() == b""
        await draining
        async with session.get("/v1/channels/a/events") as late:
            assert late.status == 503


async def test_a_reader_that_takes_nothing_does_not_delay_a_stop() -> None:
    served = Served()
    async with serving(served):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1024)
        writer.write(b"GET /v1/channels/chat%3A1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"event: ready")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        served.publish(start(), *(token(number, number * 60_000, "x" * 60_000) for number in range(1, 200)))
        async with asyncio.timeout(30):
            await served.events.drain(0.5)
        assert served.clients() == 0
        writer.transport.abort()


class HeldRecords(MemoryRecords):
    """Answers once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def hydrate(self, channel: str, *, limit: int, before: str | None = None, max_bytes: int = 0) -> Page:
        self.asked.set()
        await self.may_answer.wait()
        return await super().hydrate(channel, limit=limit, before=before, max_bytes=max_bytes)


async def test_a_reader_whose_snapshots_are_being_read_gets_them_and_bye_at_a_stop() -> None:
    store = HeldRecords()
    store.put(record_value("old", "Bye", seq=2, status="complete"))
    served = Served(store=store)
    async with serving(served) as session, asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(session.get("/v1/channels/chat%3A1/events"))
        await store.asked.wait()
        draining = tasks.create_task(served.events.drain(60.0))
        await asyncio.sleep(0)
        store.may_answer.set()
        async with asyncio.timeout(30):
            events = read_events(await (await asked).read())
            await draining
        assert [event.name for event in events] == ["snapshot", "ready", "bye"]


async def test_a_store_that_does_not_answer_does_not_delay_a_stop() -> None:
    store = HeldRecords()
    served = Served(store=store)
    async with serving(served) as session, asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(session.get("/v1/channels/chat%3A1/events"))
        await store.asked.wait()
        async with asyncio.timeout(30):
            await served.events.drain(0.3)
        assert served.clients() == 0
        asked.cancel()


@pytest.mark.parametrize(("wanted", "header"), [("openai", None), ("ui-message", "v1"), ("tokenstream", None)])
async def test_one_response_streams_to_its_end(wanted: str, header: str | None) -> None:
    served = Served()
    served.publish(start(), token(1, 0, "Hel"))
    async with serving(served) as session, session.get(f"/v1/responses/r1/events?format={wanted}") as answer:
        assert answer.headers.get("x-vercel-ai-ui-message-stream") == header
        written = b""
        while b"Hel" not in written:
            written += await answer.content.readany()
        served.publish(token(2, 3, "lo"), stop(3, {"text": "Hello"}))
        async with asyncio.timeout(20):
            written += await answer.content.read()
        assert (b"[DONE]" in written) == (wanted != "tokenstream")
        assert (b"retry: " in written) == (wanted == "tokenstream")


async def test_a_reader_that_has_all_of_a_response_need_not_come_back() -> None:
    served = Served()
    served.publish(start(), token(1, 0, "Hel"), stop(2, {"text": "Hel"}))
    async with serving(served) as session:
        for last, status in (("p1.0-3", 204), ("p1.0-2", 200), ("", 200)):
            async with session.get("/v1/responses/r1/events", headers={"Last-Event-ID": last}) as answer:
                assert answer.status == status
                assert answer.headers["Cache-Control"] == "no-store"
                assert (await answer.read() == b"") == (status == 204)


async def test_a_finished_response_comes_from_the_store() -> None:
    served = Served()
    served.store.put(record_value("old", "Bye", seq=2, status="complete"))
    async with serving(served) as session, session.get("/v1/responses/old/events") as answer:
        events = read_events(await answer.read())
        assert [event.name for event in events] == ["snapshot"]
        assert events[0].data["data"]["text"] == "Bye"


class OnePageOnly(MemoryRecords):
    """The store of a gateway, which is lost between two pages. `unexpected` is then raised instead."""

    unexpected: Exception | None = None

    async def hydrate(self, channel: str, *, limit: int, before: str | None = None, max_bytes: int = 0) -> Page:
        if before is not None:
            raise self.unexpected or StoreUnavailable("down")
        page = await super().hydrate(channel, limit=limit)
        return Page(page.items, "more")


async def test_a_store_that_is_lost_among_the_snapshots_ends_the_stream_with_bye() -> None:
    served = Served(store=OnePageOnly())
    async with serving(served) as session, session.get("/v1/channels/chat%3A1/events") as answer:
        written = await answer.read()
        assert [event.name for event in read_events(written)] == ["bye"]
        assert b"HTTP/1.1" not in written


async def test_a_failure_in_a_stream_is_no_second_answer_in_it() -> None:
    store = OnePageOnly()
    store.unexpected = ValueError("a bug")
    served = Served(store=store)
    async with serving(served) as session:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET /v1/channels/chat%3A1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        written = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(20):
                while piece := await reader.read(65_536):
                    written += piece
        writer.close()
        assert written.count(b"HTTP/1.1") == 1
        async with session.get("/v1/channels/chat%3A1/events?limit=0") as answer:
            assert answer.status == 200
