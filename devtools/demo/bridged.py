"""A model server without any knowledge of Kafka, behind a bridge: the responses of OpenAI clients reach readers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from devtools.deployment import LocalDeployment
from devtools.model_server import ModelServer
from devtools.process import running
from devtools.produced import Produced

TOKEN_SECONDS = 0.02
WORDS = "Any OpenAI client is a producer, if the bridge stands in front of its model server."


@dataclass(frozen=True, slots=True)
class BridgedModel:
    """`url` is what an OpenAI client is given as its base."""

    deployment: LocalDeployment
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
        return Produced(response_id, channel, {"text": "".join(f"{word} " for word in tokens)}, len(tokens), "bridge")


@asynccontextmanager
async def bridged(deployment: LocalDeployment) -> AsyncIterator[BridgedModel]:
    """Raises ChildFailed where the bridge does not start."""
    async with (
        ModelServer(TOKEN_SECONDS) as model,
        running(deployment.new("bridge", BRIDGE_UPSTREAM=model.url)) as bridge,
    ):
        yield BridgedModel(deployment, f"{bridge.url}/v1")
