"""Measures what a bridge adds to the time to a model's first token: the same requests, alternately with and without a
bridge.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from devtools.bench.figures import Spread, spread
from devtools.bench.results import Result, Unsound
from devtools.deployment import create_topics, kafka_settings, names_after, settings_here
from devtools.kafka import LocalKafka
from devtools.model_server import ModelServer
from devtools.process import TokenstreamProcess, prefixed, running

WARM_UP = 20
TOKENS = 10


async def run_bridge(kafka: LocalKafka, directory: Path, requests: int) -> Result:
    """One request at a time, so that only the way through the bridge is measured."""
    await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    async with (
        ModelServer() as model,
        aiohttp.ClientSession() as http,
        _bridge(kafka, directory, model.url) as url,
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
        load=f"{requests:,} requests through a bridge and as many past it, in turn, one at a time",
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
async def _bridge(kafka: LocalKafka, directory: Path, upstream: str) -> AsyncIterator[str]:
    names = await create_topics(kafka.bootstrap, names_after("bridge"))
    settings = {**settings_here(), **kafka_settings(kafka.bootstrap, names), "BRIDGE_UPSTREAM": upstream}
    async with running(TokenstreamProcess(prefixed(settings), "bridge", log=directory / "bridge.log")) as bridge:
        yield f"{bridge.url}/v1"
