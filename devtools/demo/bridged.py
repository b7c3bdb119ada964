"""A model server without any knowledge of Kafka, behind a bridge: the responses of OpenAI clients reach readers."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from devtools.children import Child
from devtools.demo.model import Produced
from devtools.deployment import HOST, Deployment
from devtools.free_ports import free_ports
from devtools.model_server import ModelServer

TOKEN_SECONDS = 0.02
WORDS = "Any OpenAI client is a producer, if the bridge stands in front of its model server."


@dataclass(frozen=True, slots=True)
class BridgedModel:
    """`url` is what an OpenAI client is given as its base."""

    deployment: Deployment
    url: str

    async def answer(self, channel: str, words: str = WORDS) -> Produced:
        """Asks for a completion, as any OpenAI client would. The model server repeats the words."""
        body = {"model": "words", "stream": True, "messages": [{"role": "user", "content": words}]}
        headers = {"x-tokenstream-channel": channel}
        async with self.deployment.http.post(f"{self.url}/chat/completions", json=body, headers=headers) as answer:
            answer.raise_for_status()
            await answer.read()
            response_id = answer.headers["x-tokenstream-response-id"]
        tokens = words.split()
        return Produced(response_id, channel, "bridge", len(tokens), {"text": "".join(f"{word} " for word in tokens)})


@asynccontextmanager
async def bridged(deployment: Deployment) -> AsyncIterator[BridgedModel]:
    """Raises ChildFailed where the bridge does not start."""
    (port,) = free_ports(1)
    async with ModelServer(TOKEN_SECONDS) as model:
        settings = {
            "KAFKA_BOOTSTRAP_SERVERS": deployment.kafka.bootstrap,
            "BRIDGE_UPSTREAM": model.url,
            "BRIDGE_PORT": str(port),
            "LOG_FORMAT": "console",
        }
        bridge = Child(
            "The bridge",
            *(sys.executable, "-m", "processor", "bridge"),
            log=deployment.directory / "bridge.log",
            environment={f"TOKENSTREAM_{name}": value for name, value in settings.items()},
        )
        bridge.start()
        try:
            await deployment.until_answers(bridge, f"http://{HOST}:{port}/readyz")
            yield BridgedModel(deployment, f"http://{HOST}:{port}/v1")
        finally:
            await bridge.stop()
