"""`tokenstream bridge` from outside: its command, its health, and how it ends."""

import sys
from pathlib import Path

import aiohttp

from devtools.free_ports import free_port
from devtools.kafka import LocalKafka
from devtools.model_server import ModelServer
from support.commands import run_command
from support.lab import RelayProcess
from topics.specs import TopicNames


def settings(kafka: LocalKafka, topic: str, upstream: str, port: int) -> dict[str, str]:
    given = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "TOKENS_TOPIC": topic,
        "BRIDGE_UPSTREAM": upstream,
        "BRIDGE_PORT": str(port),
        "LOG_FORMAT": "json",
    }
    return {f"TOKENSTREAM_{name}": value for name, value in given.items()}


async def test_the_command_serves_until_sigterm(kafka: LocalKafka, topic_names: TopicNames) -> None:
    port = free_port()
    async with ModelServer() as model, aiohttp.ClientSession() as client:
        process = RelayProcess(settings(kafka, topic_names.tokens, model.url, port), "bridge")
        await process.start()
        try:
            process.port = port
            await process.ready()
            body = {"model": "words", "messages": [{"content": "one two"}]}
            url = f"http://127.0.0.1:{port}/v1/chat/completions"
            async with client.post(url, json=body, headers={"x-tokenstream-channel": "c"}) as answer:
                assert (await answer.json())["choices"][0]["message"]["content"] == "one two "
            assert await process.metric("tokenstream_bridge_requests_total") == 1
            assert "kafka: ok" in await process.text("/readyz")
            assert await process.stop() == 0
        finally:
            await process.kill()


async def test_without_a_model_server_it_says_so(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "processor", "bridge")
    code, printed = await run_command(*command, environment={"TMPDIR": str(tmp_path)}, within=60)
    assert code == 2
    assert printed.startswith("TOKENSTREAM_BRIDGE_UPSTREAM: must be set")
