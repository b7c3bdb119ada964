"""The JavaScript library on a real gateway: relay, archive, api and gateway are one process, restarted while readers join."""

import asyncio
import contextlib
import json
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from devtools.direct_lab import DirectLab, direct_lab
from devtools.kafka import LocalKafka
from devtools.produced import KINDS, WORDS
from support.nodes import ROOT
from support.waiting import slowness
from topics.codec import TokenRecord, decode_record
from topics.producer import TokenProducer

SCRIPT = ROOT / "tests" / "js" / "client_gateway.mjs"
CHANNELS = ("chat:0", "chat/1:joins")
TOKEN = "token-that-may-cancel"
WRITERS = 4
ROUNDS = 4
Texts = dict[str, dict[str, Any]]
"""By response: its `channel`, and the text of each part in `parts`."""


class Readers:
    """The script, and lines of JSON to and from it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def heard(self) -> dict[str, Any]:
        """The next line."""
        assert self._process.stdout is not None
        async with asyncio.timeout(100 * slowness()):
            line = await self._process.stdout.readline()
        assert line.startswith(b"{"), (line + await self._process.stdout.read()).decode()
        return dict(json.loads(line))

    async def say(self, **message: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        await self._process.stdin.drain()


@contextlib.asynccontextmanager
async def readers(api: str) -> AsyncIterator[Readers]:
    process = await asyncio.create_subprocess_exec(
        *("node", str(SCRIPT), "7"),
        env={**os.environ, "API": api, "TOKEN": TOKEN},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=2**24,
    )
    try:
        yield Readers(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def write_in_turn(producer: TokenProducer, number: int, more: asyncio.Event) -> None:
    """One response after the other on alternating channels, at least `ROUNDS`, and until `more` is set."""
    chance, turn = random.Random(number), 0
    while turn < ROUNDS or not more.is_set():
        async with producer.response(CHANNELS[turn % 2], response_id=f"r{number}-{turn}") as response:
            for token in range(chance.randint(1, 40)):
                part = chance.choice(tuple(KINDS))
                await response.token(f"{chance.choice(WORDS)}{token} ", kind=KINDS[part], part=part)
                await asyncio.sleep(chance.random() * 0.03)
        turn += 1


async def write_until_cancelled(producer: TokenProducer) -> bool:
    async with producer.response(CHANNELS[0], response_id="to-cancel") as response:
        while True:
            await response.token("more ")
            await asyncio.sleep(0.02)
    return response.cancelled


async def produced(lab: DirectLab) -> Texts:
    """What is in the tokens topic."""
    found: Texts = {}
    async for message in lab.read(lab.names.tokens):
        record = decode_record(message.value)
        assert isinstance(record, TokenRecord)
        if record.event == "start":
            found[record.response_id] = {"channel": record.channel, "parts": {}}
        elif record.event == "token":
            parts = found[record.response_id]["parts"]
            parts[record.part] = parts.get(record.part, "") + record.text
    return found


async def test_every_text_is_whole_though_the_gateway_restarts(
    kafka: LocalKafka, topics_prefix: str, tmp_path: Path
) -> None:
    async with direct_lab(kafka.bootstrap, topics_prefix, tmp_path) as lab:
        process = await lab.relay(role="run", DIRECT_CHANNEL_RATE="0", API_TOKENS=f"{TOKEN}=chat*")
        producer = TokenProducer(lab.bootstrap, topic=lab.names.tokens, controls_topic=lab.names.controls)
        enough = asyncio.Event()
        async with producer, readers(f"http://127.0.0.1:{process.port}/v1") as node:
            async with asyncio.TaskGroup() as tasks:
                for number in range(WRITERS):
                    tasks.create_task(write_in_turn(producer, number, enough))
                cancelling = tasks.create_task(write_until_cancelled(producer))
                assert await node.heard() == {"live": True}
                assert await process.stop() == 0, process.tail()
                await process.start()
                await process.ready()
                await node.say(cancel="to-cancel")
                assert await node.heard() == {"cancelled": {"status": "cancelled", "reason": "cancelled"}}
                assert await cancelling
                enough.set()
            texts = await produced(lab)
            await node.say(expected=texts)
            outcome = await node.heard()
        assert (outcome["wrong"], outcome["notBeginnings"], outcome["lost"]) == ([], [], 0)
        assert outcome["joins"] >= 6
        assert outcome["looks"] > 20
        assert len(texts) > WRITERS * ROUNDS
