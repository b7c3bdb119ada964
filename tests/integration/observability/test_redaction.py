"""No text and no credential is in any log, at any level: real processes, with marked texts and secrets, made to fail.

Everything a model or a person wrote holds TEXT, every credential holds SECRET. What the processes print is searched
for both.
"""

import asyncio
import json
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer

from conftest import MakeTopics
from devtools.emulator.server import LocalRealtime
from devtools.kafka import LocalKafka
from devtools.lab import Lab
from devtools.process import TokenstreamProcess
from support.waiting import eventually

pytestmark = pytest.mark.timeout(400)
TEXT = "CANARYTEXT"
SECRET = "CANARYSECRET"
KEY = f"appAbc.keyAbc:{SECRET}-0123456789abcdef"
OTHER_KEY = f"appAbc.keyAbc:{SECRET}-of-somebody-else"
BEARER = f"{SECRET}bearer"
CHANNELS = ("chat:0", "chat:refused", "chat:slow", "chat:large")
UNFILTERED = (sys.executable, str(Path(__file__).parent / "unfiltered.py"))
TESTS = Path(__file__).parents[2]


MALFORMED = tuple(
    f"GET /v1/responses/{TEXT} HTTP/1.1\r\nHost: x\r\n{header}\r\n\r\n".encode()
    for header in (
        f"Authorization: Bearer\r\n {SECRET}",
        f"Authorization: Bearer {SECRET}\x01",
        f"Authorization: Token {SECRET}\x01",
        f"X-Api-Token: {SECRET}\x00",
        f"Cookie: session={SECRET}\x01",
        f"X-{SECRET}: {'x' * 9_000}",
        f"{SECRET} no colon",
    )
)
"""Requests that the HTTP library refuses; it quotes them in what it logs."""


class Stage:
    """Processes of every role, and what makes them talk."""

    def __init__(self, lab: Lab, directory: Path, *, filtered: bool) -> None:
        self._lab = lab
        self._filtered = filtered
        self.store = directory / "store.db"
        self.processes: list[TokenstreamProcess] = []

    async def start(self, role: str, *, ready: bool = True, **changes: str) -> TokenstreamProcess:
        store = f"sqlite:///{self.store}"
        settings = {
            "LOG_LEVEL": "debug",
            "LOG_FORMAT": "json",
            "STORE_URL": store,
            "API_TOKENS": f"{BEARER}=chat:*",
        }
        program = () if self._filtered else (*UNFILTERED, role)
        process = self._lab.new(role, program=program, GAP_TIMEOUT="0.5", **({"ABLY_KEY": KEY} | settings | changes))
        if not self._filtered:
            process.environment["PYTHONPATH"] = str(TESTS)
        self.processes.append(process)
        await process.start()
        if ready:
            await process.ready()
        return process

    def said(self) -> str:
        return "\n".join(process.log.read_text(errors="replace") for process in self.processes)

    async def says(self, *events: str, deadline: float = 120.0) -> None:
        def told() -> bool:
            said = self.said()
            missing = [event for event in events if event not in said]
            assert not missing, f"nothing was said of {missing}"
            return True

        await eventually(told, deadline=deadline, every=0.2)


@asynccontextmanager
async def staged(
    kafka: LocalKafka, make_topics: MakeTopics, directory: Path, *, filtered: bool = True
) -> AsyncIterator[tuple[Stage, Lab]]:
    names = await make_topics(partitions=1)
    async with LocalRealtime(key=KEY, admin=True, limits=False) as realtime:
        lab = Lab(kafka.bootstrap, names, realtime)
        try:
            yield Stage(lab, directory, filtered=filtered), lab
        finally:
            await lab.close()


def token_records(response_id: str, channel: str, size: int = 1) -> Sequence[bytes]:
    texts = [f"{TEXT}{number} " * size for number in range(5)]
    head = {"responseId": response_id, "ts": 1}
    return [
        json.dumps(head | fields).encode()
        for fields in (
            {"event": "start", "seq": 0, "channel": channel, "metadata": {"prompt": TEXT}},
            *({"event": "token", "seq": n, "text": text} for n, text in enumerate(texts, start=1)),
            {"event": "token", "seq": 6, "text": TEXT, "part": "call", "kind": "tool_call", "partInfo": {"name": TEXT}},
            {"event": "token", "seq": 9, "text": TEXT},
            {"event": "stop", "seq": 10, "reason": "error", "error": {"code": "x", "message": TEXT}},
        )
    ]


POISON = (
    f'{{"event":"token","responseId":"p","text":"{TEXT}'.encode(),
    f"{TEXT} is no JSON".encode(),
    json.dumps({"event": TEXT, "responseId": "p"}).encode(),
    json.dumps({"event": "token", "responseId": "p", "seq": TEXT, "text": TEXT}).encode(),
    json.dumps({"event": "token", "responseId": "p", "seq": 3, "text": {TEXT: TEXT}}).encode(),
    json.dumps({"event": "start", "responseId": "p", "seq": 0, "channel": "chat:0", "metadata": TEXT}).encode(),
    json.dumps({"v": 9, "event": "token", "text": TEXT}).encode(),
)


async def play(stage: Stage, lab: Lab) -> None:
    """Everything goes wrong that can: refusals, silence, a service that hangs up, a store that breaks, poison, bad keys."""
    faults = lab.realtime.faults
    faults.add({"nack": {"code": 40160, "channel": "refused"}})
    faults.add({"nack": {"code": 42911, "share": 0.5, "seed": 3, "times": 5}})
    faults.add({"nack": {"code": 40009, "channel": "large", "times": 2}})
    faults.add({"drop_ack": {"channel": "slow", "times": 1}})
    relay = await stage.start("relay")
    await stage.start("archive")
    api = await stage.start("api", PROBE_CHANNEL="chat:probe")
    await stage.start("relay", ready=False, ABLY_KEY=OTHER_KEY, KAFKA_GROUP_ID=f"{lab.names.tokens}-other")
    await stage.start("archive", ready=False, STORE_URL=f"postgresql://user:{SECRET}@127.0.0.1:1/db")
    await stage.start("api", ready=False, STORE_URL=f"postgresql://{SECRET}:{SECRET}-pw@127.0.0.1:1/db")
    async with AIOKafkaProducer(bootstrap_servers=lab.bootstrap) as producer:
        for value in POISON:
            await producer.send_and_wait(lab.names.tokens, value=value, key=b"k")
            await producer.send_and_wait(lab.names.responses, value=value, key=b"k", partition=0)
        for number, channel in enumerate(CHANNELS):
            for value in token_records(f"r{number}", channel, size=1_500 if channel == "chat:large" else 1):
                await producer.send_and_wait(lab.names.tokens, value=value, key=b"k")
        await eventually(lambda: lab.finished() >= len(CHANNELS) - 1, deadline=120)
        await request_as_people_do(api)
        faults.add({"down": {"seconds": 1}})
        break_the_store(stage.store)
        for value in token_records("r9", "chat:0"):
            await producer.send_and_wait(lab.names.tokens, value=value, key=b"k")
        await eventually(lambda: lab.finished() >= len(CHANNELS), deadline=120)
    # Three attempts: the first one was on its way when the store broke.
    await eventually(lambda: stage.said().count("archive_store_failed") >= 3, deadline=120, every=0.3)
    await request_as_people_do(api)
    await relay.stop()


async def request_as_people_do(api: TokenstreamProcess) -> None:
    url = f"http://127.0.0.1:{api.port}/v1"
    bearers = (
        f"Bearer {BEARER}",
        f"Bearer {SECRET}-wrong",
        f"Basic {SECRET}",
        f"Bearer eyJ{SECRET}.eyJ{SECRET}.{SECRET}",
    )
    for request in MALFORMED:
        await say(api.port, request)
    async with aiohttp.ClientSession() as http:
        for authorization in bearers:
            for path in ("responses/r0", "channels/chat:0/hydrate", f"responses/{TEXT}?access_token={SECRET}"):
                async with http.get(f"{url}/{path}", headers={"Authorization": authorization}) as answer:
                    await answer.read()


async def say(port: int, request: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await reader.read(1)
    writer.close()


def break_the_store(path: Path) -> None:
    """As a full disk or a wrong migration would: every insert fails, and SQLAlchemy would log its values."""
    with sqlite3.connect(path, timeout=30) as database:
        database.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON responses BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )


async def test_no_text_and_no_credential_is_logged_at_debug_whatever_fails(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    async with staged(kafka, make_topics, tmp_path) as (stage, lab):
        await play(stage, lab)
        events = ("publish_retry", "channel_refused", "archive_record_refused", "archive_store_failed", "started")
        await stage.says(*events)
        said = stage.said().splitlines()
        told = [line[:600] for line in said if TEXT in line or SECRET in line]
        assert told == []
        assert len(said) > 50


async def test_with_plain_logging_the_same_play_shows_text_and_credentials(
    kafka: LocalKafka, make_topics: MakeTopics, tmp_path: Path
) -> None:
    """That the test above can fail."""
    async with staged(kafka, make_topics, tmp_path, filtered=False) as (stage, lab):
        await play(stage, lab)
        assert TEXT in stage.said()
        assert SECRET in stage.said()
