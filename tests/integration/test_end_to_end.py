"""The whole path: real Kafka, the real Python SDK publishing, ably-js in Node reading."""

import asyncio
import hashlib
import json
import os

import pytest

from conftest import MakeTopics
from devtools.kafka import LocalKafka
from devtools.lab import laboratory
from support.lab import ROOT

CHANNELS = 20


@pytest.mark.timeout(240)
async def test_200_responses_of_20_000_tokens_arrive_whole_in_ably_js(
    kafka: LocalKafka, make_topics: MakeTopics
) -> None:
    async with laboratory(kafka.bootstrap, await make_topics()) as lab:
        await lab.relay()
        reader = await asyncio.create_subprocess_exec(
            "node",
            str(ROOT / "tests" / "js" / "collect.mjs"),
            cwd=ROOT,
            env={**os.environ, "PORT": str(lab.realtime.port), "CHANNELS": str(CHANNELS), "RESPONSES": "200"},
            stdout=asyncio.subprocess.PIPE,
            limit=64 * 1024 * 1024,
        )
        assert reader.stdout is not None
        assert (await reader.stdout.readline()).strip() == b"subscribed"
        await lab.stream(responses=200, tokens=100, channels=CHANNELS, pause=0.02, parts=True)
        assert sum(produced.tokens for produced in lab.produced) == 20_000
        async with asyncio.timeout(120):
            seen = json.loads((await reader.communicate())[0])
        for produced in lab.produced:
            response = seen[produced.response_id]
            assert response["texts"] == produced.texts
            assert response["wrong"] == []
            assert response["starts"] == response["stops"] == 1
            for part in response["stop"]["parts"]:
                assert part["sha256"] == hashlib.sha256(produced.texts[part["part"]].encode()).hexdigest()
        verdict = lab.verdict()
        assert not verdict.wrong, verdict
        assert verdict.repeated_as_published == 0
