"""A broker that answers, and names no broker: so it is for a moment while the only one is fenced."""

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest

from processor.errors import KafkaUnavailable
from processor.kafka import TransactionalWriter
from processor.kafka.connection import KafkaConnection

API_VERSIONS, METADATA = 18, 3


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Kafka's protocol, as far as starting a client goes: two requests, in their oldest version."""
    try:
        while True:
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            key, _version, correlation = struct.unpack(">hhi", (await reader.readexactly(size))[:8])
            if key == API_VERSIONS:
                apis = [(api, 0, 0) for api in (METADATA, API_VERSIONS, 10, 22)]
                body = struct.pack(">hi", 0, len(apis)) + b"".join(struct.pack(">hhh", *api) for api in apis)
            else:
                body = struct.pack(">ii", 0, 0)  # no brokers, no topics
            writer.write(struct.pack(">ii", 4 + len(body), correlation) + body)
    except asyncio.IncompleteReadError:
        writer.close()


@pytest.fixture
async def bootstrap() -> AsyncIterator[str]:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_writer_that_finds_no_broker_says_that_kafka_is_unavailable(bootstrap: str) -> None:
    writer = TransactionalWriter(
        lambda: KafkaConnection(bootstrap),
        transactional_id="t",
        group_id="g",
        topic="tokens",
        partition=0,
        max_bytes=1 << 20,
    )
    with pytest.raises(KafkaUnavailable, match="starting the transactional producer failed"):
        await writer.start()
