"""What else is observed: a bridge in front of a model server, and a gateway with readers, on topics of its own."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from devtools.dashboards.prometheus import Target
from devtools.direct_lab import DirectLab, direct_lab
from devtools.event_readers import StreamReader
from devtools.lab import Lab
from devtools.model_server import ModelServer
from devtools.process import TokenstreamProcess

SCRIPTS = ("words", "words", "words", "refuses", "words", "words", "dies", "words", "error")
"""What the model server is asked for in turn."""
PROMPT = "Each of these words is a token of the response that the model server gives."
CHANNELS = 2


@dataclass(frozen=True, slots=True)
class Streams:
    """The relay of the gateway is not scraped: it would be listed among those that publish to the realtime service."""

    bridge: TokenstreamProcess
    direct: DirectLab
    gateway: TokenstreamProcess

    def targets(self) -> list[Target]:
        return [
            Target("tokenstream-bridge", "bridge-0", self.bridge.port),
            Target("tokenstream-gateway", "gateway-0", self.gateway.port),
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Callers ask the bridge, and readers follow what is streamed, until `stop`."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as http,
            asyncio.TaskGroup() as tasks,
        ):
            endless = [
                tasks.create_task(self._ask(http)),
                tasks.create_task(self._produce()),
                *(tasks.create_task(self._reader(channel).run(http)) for channel in range(CHANNELS)),
            ]
            await stop.wait()
            for task in endless:
                task.cancel()

    async def _ask(self, http: aiohttp.ClientSession) -> None:
        for number, script in enumerate(itertools.cycle(SCRIPTS)):
            body = {"model": script, "stream": True, "messages": [{"role": "user", "content": PROMPT}]}
            headers = {"x-tokenstream-channel": f"bridged:{number % CHANNELS}"}
            try:
                url = f"{self.bridge.url}/v1/chat/completions"
                async with http.post(url, json=body, headers=headers) as answer:
                    await answer.read()
            except aiohttp.ClientError:
                pass  # what the script asks for: the model server's connection breaks
            await asyncio.sleep(0.3)

    async def _produce(self) -> None:
        for seed in itertools.count():
            await self.direct.stream(responses=CHANNELS, tokens=40, channels=CHANNELS, pause=0.05, seed=seed)

    def _reader(self, channel: int) -> StreamReader:
        return StreamReader(f"/v1/channels/chat:{channel}/events", [self.gateway.port])


@asynccontextmanager
async def streams(lab: Lab, directory: Path) -> AsyncIterator[Streams]:
    """Starts the processes, and ends them with the block."""
    store = directory / "direct"
    store.mkdir()
    prefix = f"{lab.names.tokens}-direct"
    async with ModelServer(pace=0.05) as model, direct_lab(lab.bootstrap, prefix, store, partitions=1) as direct:
        bridge = lab.new("bridge", BRIDGE_UPSTREAM=model.url)
        gateway, relay = direct.new("gateway"), direct.new()
        await asyncio.gather(*(process.start() for process in (bridge, gateway, relay)))
        await asyncio.gather(*(process.ready(deadline=150) for process in (bridge, gateway, relay)))
        yield Streams(bridge, direct, gateway)
