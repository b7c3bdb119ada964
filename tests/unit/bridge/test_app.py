"""The bridge over HTTP, as far as it goes without Kafka."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from random import Random
from time import monotonic

import aiohttp

from processor.bridge.access import BridgeAccess
from processor.bridge.app import Bridge, BridgeOptions
from processor.bridge.asking import Rules
from processor.bridge.kafka import KafkaLink
from processor.bridge.measures import BridgeMeasures
from processor.bridge.stream import StreamParts
from processor.bridge.upstream import Upstream
from processor.config.values import ApiToken
from processor.telemetry.health import Health
from processor.telemetry.metrics import Metrics
from processor.telemetry.server import HttpServer
from support.waiting import eventually
from topics.producer import TokenProducer

MAX_BYTES = 1000


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[Bridge, int]]:
    """A bridge that never connects to Kafka, and its port."""

    async def no_tokens() -> Sequence[ApiToken]:
        return ()

    async def no_key() -> str | None:
        return None

    metrics = Metrics()
    async with aiohttp.ClientSession() as session:
        link = KafkaLink(lambda: TokenProducer("127.0.0.1:1"), lambda: None, Random(1).random, lambda: None)
        parts = StreamParts(Upstream(session, "http://127.0.0.1:1/v1", 5.0), link, BridgeMeasures(metrics), monotonic)
        options = BridgeOptions(
            Rules(), max_streams=10, max_bytes=MAX_BYTES, write_seconds=10.0, drain_seconds=1.0, key=no_key
        )
        bridge = Bridge(options, BridgeAccess(no_tokens, required=False), parts)
        async with HttpServer(bridge.make_app(Health(metrics, list, list)), host="127.0.0.1", port=0) as server:
            yield bridge, server.port


async def test_a_body_that_comes_while_the_bridge_stops_begins_no_stream() -> None:
    body = json.dumps({"model": "m", "messages": []}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nx-tokenstream-channel: c\r\nExpect: 100-continue\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    async with asyncio.timeout(20), serving() as (bridge, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode())
        assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
        await bridge.drain()
        writer.write(body)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"bridge_stopped"' in answer


async def test_a_body_in_an_encoding_that_it_is_not_in_is_a_400() -> None:
    headers = {"x-tokenstream-channel": "c", "Content-Encoding": "gzip"}
    async with serving() as (_, port), aiohttp.ClientSession() as client:
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        async with client.post(url, data=b"not gzip at all", headers=headers) as answer:
            assert answer.status == 400
            assert (await answer.json())["error"]["code"] == "invalid_request"


async def test_requests_that_are_too_many_bytes_together_are_a_503() -> None:
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nx-tokenstream-channel: c\r\nConnection: close\r\n"
    body = b'{"messages":[]' + b" " * 685 + b"}"
    async with asyncio.timeout(20), serving() as (bridge, port), aiohttp.ClientSession() as client:
        url, headers = f"http://127.0.0.1:{port}/v1/chat/completions", {"x-tokenstream-channel": "c"}

        async def refused() -> tuple[str, str | None]:
            async with client.post(url, data=body, headers=headers) as answer:
                assert answer.status == 503
                return (await answer.json())["error"]["code"], answer.headers.get("Retry-After")

        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:-1])
        await eventually(lambda: bridge.body_bytes == len(body) - 1)
        assert await refused() == ("too_many_request_bytes", "1")
        writer.write(body[-1:])
        assert b'"kafka_unavailable"' in await reader.read()
        assert bridge.body_bytes == 0
        assert await refused() == ("kafka_unavailable", "2")
        writer.close()
        await writer.wait_closed()
