"""`tokenstream bridge` from outside: its command, its health, and how it ends."""

import sys
from pathlib import Path

import aiohttp

from devtools.deployment import kafka_settings
from devtools.kafka import LocalKafka
from devtools.model_server import ModelServer
from devtools.process import TokenstreamProcess, prefixed, running
from support.commands import run_command
from topics.specs import TopicNames


async def test_the_command_serves_until_sigterm(kafka: LocalKafka, topic_names: TopicNames) -> None:
    async with ModelServer() as model, aiohttp.ClientSession() as client:
        settings = {**kafka_settings(kafka.bootstrap, topic_names), "BRIDGE_UPSTREAM": model.url, "LOG_FORMAT": "json"}
        async with running(TokenstreamProcess(prefixed(settings), "bridge")) as process:
            body = {"model": "words", "messages": [{"content": "one two"}]}
            url = f"{process.url}/v1/chat/completions"
            async with client.post(url, json=body, headers={"x-tokenstream-channel": "c"}) as answer:
                assert (await answer.json())["choices"][0]["message"]["content"] == "one two "
            assert await process.metric("tokenstream_bridge_requests_total") == 1
            assert "kafka: ok" in await process.text("/readyz")
            assert await process.stop() == 0


async def test_without_a_model_server_it_says_so(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "processor", "bridge")
    code, printed = await run_command(*command, environment={"TMPDIR": str(tmp_path)}, within=60)
    assert code == 2
    assert printed.startswith("TOKENSTREAM_BRIDGE_UPSTREAM: must be set")
