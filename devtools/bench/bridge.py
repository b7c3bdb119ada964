"""Measures what a bridge adds to the time to a model's first token: the same requests, alternately with and without a
bridge.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from devtools.bench.figures import Spread, spread
from devtools.bench.results import Result, Unsound
from devtools.children import Child, ChildFailed
from devtools.free_ports import free_port
from devtools.kafka import LocalKafka
from devtools.model_server import ModelServer
from processor.kafka.connection import KafkaConnection
from processor.kafka.topics_admin import TopicsWanted, apply
from topics.specs import TopicNames

READY_SECONDS = 60.0
WARM_UP = 20
TOKENS = 10


async def run_bridge(kafka: LocalKafka, directory: Path, requests: int) -> Result:
    """One request at a time, so that only the way through the bridge is measured."""
    await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    async with (
        ModelServer() as model,
        aiohttp.ClientSession() as http,
        _bridge(kafka, directory, model.url, http) as url,
    ):
        for _ in range(WARM_UP):
            await _first_token(http, model.url)
            await _first_token(http, url)
        direct, bridged = [], []
        for _ in range(requests):
            direct.append(await _first_token(http, model.url))
            bridged.append(await _first_token(http, url))
    result = Result(
        scenario="bridge",
        title="What a bridge adds to the first token",
        load=f"{requests:,} requests through a bridge and as many past it, in turn, one at a time.",
        seed=0,
    )
    result.add("requests", 2 * requests)
    _add(result, spread(direct), spread(bridged))
    return result


def _add(result: Result, direct: Spread | None, bridged: Spread | None) -> None:
    if direct is None or bridged is None:
        raise Unsound("No request was answered.")
    for name, past, through in (("p50", direct.p50, bridged.p50), ("p99", direct.p99, bridged.p99)):
        result.add(f"first token past it, {name}", past * 1000, "ms")
        result.add(f"first token through it, {name}", through * 1000, "ms")
        result.add(f"added, {name}", max(0.0, through - past) * 1000, "ms")


async def _first_token(http: aiohttp.ClientSession, url: str) -> float:
    """Seconds from the request to the first byte of its stream."""
    body = {"model": "words", "stream": True, "messages": [{"role": "user", "content": "word " * TOKENS}]}
    begun = time.perf_counter()
    headers = {"x-tokenstream-channel": "chat:bench"}
    async with http.post(f"{url}/chat/completions", json=body, headers=headers) as answer:
        first = await answer.content.readany()
        took = time.perf_counter() - begun
        rest = await answer.read()
    if answer.status != 200 or b"[DONE]" not in first + rest:
        raise Unsound(f"A request was answered {answer.status} and not to its end.")
    return took


@asynccontextmanager
async def _bridge(kafka: LocalKafka, directory: Path, upstream: str, http: aiohttp.ClientSession) -> AsyncIterator[str]:
    names = TopicNames(*(f"bridge.{topic}" for topic in ("tokens", "responses", "dead-letters", "controls")))
    await apply(KafkaConnection(kafka.bootstrap), TopicsWanted(names, max_response_bytes=2**22), partitions=4)
    port = free_port()
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "TOKENS_TOPIC": names.tokens,
        "BRIDGE_UPSTREAM": upstream,
        "BRIDGE_PORT": str(port),
    }
    environment = {f"TOKENSTREAM_{name}": value for name, value in settings.items()}
    command = (sys.executable, "-m", "processor", "bridge")
    child = Child("The bridge", *command, log=directory / "bridge.log", environment=environment)
    child.start()
    try:
        await _ready(child, http, f"http://127.0.0.1:{port}/readyz")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        await child.stop()


async def _ready(child: Child, http: aiohttp.ClientSession, url: str) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        child.check()
        try:
            async with http.get(url) as answer:
                if answer.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(0.1)
    raise ChildFailed(f"The bridge was not ready in {READY_SECONDS:g} s.\n{child.log_tail()}")
