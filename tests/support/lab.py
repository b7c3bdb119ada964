"""The lab of the delivery tests: real Kafka, relays as processes of their own, the local realtime server, and a
checker.

The checker reads what was published on each channel (the server's log, without what it dropped for its id), once
strictly as published and once as a reader by the rules.
"""

import asyncio
import functools
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer

from devtools.emulator.server import LocalRealtime
from devtools.free_ports import free_port
from processor.reader.reader import Reader, ReaderLimits
from support.verdict import Verdict, as_received, judge_as_published, judge_for_reader
from support.waiting import KINDS, WORDS, eventually, slowness
from topics.producer import TokenProducer
from topics.specs import TopicNames

KEY = "local.key:secret"
ROOT = Path(__file__).resolve().parents[2]


def tied() -> tuple[str, ...]:
    """What to put before a command so that it dies with this process, also by SIGKILL."""
    return (sys.executable, "-I", "-S", str(ROOT / "devtools" / "tied.py"), str(os.getpid()))


@functools.cache
def logs() -> tempfile.TemporaryDirectory[str]:
    """Gone when this process ends: what a failing test needs of a log it prints."""
    return tempfile.TemporaryDirectory(prefix="tokenstream-logs-")


class RelayProcess:
    """`python -m processor ROLE` with settings for the lab, or another `command`."""

    def __init__(self, environment: Mapping[str, str], role: str = "relay", command: Sequence[str] = ()) -> None:
        self.port = free_port()
        self.role = role
        self._command = tuple(command) or (sys.executable, "-m", "processor", role)
        self._environment = {
            **environment,
            "TOKENSTREAM_HTTP_PORT": str(self.port),
            "TOKENSTREAM_HTTP_HOST": "127.0.0.1",
        }
        self._process: asyncio.subprocess.Process | None = None
        self.log = Path(tempfile.mkstemp(prefix=f"{role}-", suffix=".log", dir=logs().name)[1])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        assert self._process is not None
        return self._process.returncode

    async def start(self) -> None:
        base = {name: value for name, value in os.environ.items() if not name.startswith("TOKENSTREAM_")}
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *tied(),
                *self._command,
                cwd=ROOT,
                env={**base, **self._environment},
                stderr=log,
                stdout=log,
            )

    async def ready(self, deadline: float = 90.0) -> None:
        await eventually(self.is_ready, deadline=deadline, every=0.05)

    async def is_ready(self) -> bool:
        assert self.returncode is None, f"the process ended with {self.returncode}:\n{self.tail()}"
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.port}/readyz") as answer,
            ):
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def has_started(self) -> bool:
        return "realtime" in await self.text("/readyz")

    async def text(self, path: str) -> str:
        """What the process answers; empty while it answers nothing."""
        try:
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}{path}") as answer:
                return await answer.text()
        except aiohttp.ClientError:
            return ""

    async def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{self.port}/metrics") as answer:
            text = await answer.text()
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.split("{")[0].split(" ")[0] == name
        )

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def ended(self, deadline: float = 30.0) -> int:
        assert self._process is not None
        async with asyncio.timeout(deadline * slowness()):
            return await self._process.wait()

    async def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self.signal(signal.SIGKILL)
            await self._process.wait()

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@dataclass
class Produced:
    """What one response was given, per part."""

    response_id: str
    channel: str
    texts: dict[str, str] = field(default_factory=dict)
    tokens: int = 0


@dataclass
class Script:
    """The tokens of one response, at their pace."""

    tokens: int
    pause: float
    chance: random.Random
    parts: bool
    until: asyncio.Event | None

    async def __aiter__(self) -> AsyncIterator[tuple[str, str]]:
        number = 0
        while number < self.tokens or (self.until is not None and not self.until.is_set()):
            text = f"{self.chance.choice(WORDS)}{number} "
            yield (self.chance.choice(tuple(KINDS)) if self.parts else "text"), text
            number += 1
            await asyncio.sleep(self.pause * self.chance.uniform(0.5, 1.5))


class Lab:
    def __init__(self, bootstrap: str, names: TopicNames, realtime: LocalRealtime) -> None:
        self.bootstrap = bootstrap
        self.names = names
        self.realtime = realtime
        self.produced: list[Produced] = []
        self.relays: list[RelayProcess] = []

    def environment(self, **changes: str) -> dict[str, str]:
        settings = {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "KAFKA_GROUP_ID": self.names.tokens,
            "KAFKA_SESSION_TIMEOUT": "3",
            "TOKENS_TOPIC": self.names.tokens,
            "RESPONSES_TOPIC": self.names.responses,
            "DEAD_LETTERS_TOPIC": self.names.dead_letters,
            "CONTROLS_TOPIC": self.names.controls,
            "ABLY_KEY": KEY,
            "ABLY_ENDPOINT": self.realtime.endpoint,
            "ABLY_TLS": "false",
            "LOG_FORMAT": "json",
            "SNAPSHOT_INTERVAL": "1",
            **changes,
        }
        return {f"TOKENSTREAM_{name}": value for name, value in settings.items()}

    async def relay(self, *, ready: bool = True, role: str = "relay", **changes: str) -> RelayProcess:
        relay = RelayProcess(self.environment(**changes), role)
        self.relays.append(relay)
        await relay.start()
        if ready:
            await relay.ready()
        return relay

    async def stream(
        self,
        *,
        responses: int,
        tokens: int,
        channels: int = 8,
        pause: float = 0.01,
        seed: int = 0,
        parts: bool = False,
        until: asyncio.Event | None = None,
    ) -> None:
        """Stream responses concurrently, `pause` seconds between the tokens of each; with `until`, at least till then."""
        async with TokenProducer(self.bootstrap, topic=self.names.tokens, controls_topic=None) as producer:
            await asyncio.gather(
                *(
                    self._one(
                        producer,
                        Produced(f"s{seed}-r{number}", f"chat:{number % channels}"),
                        Script(tokens, pause, random.Random(seed + number), parts=parts, until=until),
                    )
                    for number in range(responses)
                )
            )

    @asynccontextmanager
    async def streaming(self, **arguments: Any) -> AsyncIterator[None]:
        """Responses stream all the while, and end when this does."""
        until = asyncio.Event()
        streaming = asyncio.create_task(self.stream(tokens=0, until=until, **arguments))
        try:
            yield
        finally:
            until.set()
            await streaming

    async def _one(self, producer: TokenProducer, produced: Produced, script: "Script") -> None:
        self.produced.append(produced)
        response_id, channel = produced.response_id, produced.channel
        async with producer.response(channel=channel, response_id=response_id, metadata={"model": "m"}) as response:
            async for part, text in script:
                await response.token(text, kind=KINDS[part], part=part)
                produced.texts[part] = produced.texts.get(part, "") + text
                produced.tokens += 1

    async def progress(self, frames: int, deadline: float = 60.0) -> None:
        """Waits until this many more frames have been published."""
        before = self.published()
        await eventually(lambda: self.published() >= before + frames, deadline=deadline)

    def finished(self) -> int:
        return sum(message.name == "stop" for messages in self.realtime.log.values() for message in messages)

    def published(self) -> int:
        return sum(len(messages) for messages in self.realtime.log.values())

    async def all_finished(self, deadline: float = 60.0) -> None:
        """Wait until every produced response has its stop on its channel."""
        wanted = {produced.response_id for produced in self.produced}

        def seen() -> bool:
            stopped = {
                message.extras["headers"]["responseId"]
                for messages in self.realtime.log.values()
                for message in messages
                if message.name == "stop"
            }
            missing = wanted - stopped
            assert not missing, (
                f"{len(missing)} unfinished, e.g. {sorted(missing)[:3]}; relays: {[relay.tail(15) for relay in self.relays]}"
            )
            return True

        await eventually(seen, deadline=deadline, every=0.1)

    def verdict(self) -> Verdict:
        verdict = Verdict()
        reader = Reader("tokenstream", ReaderLimits(finished=1_000_000, open=1_000_000))
        for messages in self.realtime.log.values():
            mine = [as_received(message) for message in messages]
            judge_as_published(mine, verdict)
            reader.replay(mine)
        for produced in self.produced:
            verdict.tokens += produced.tokens
            judge_for_reader(reader, produced.response_id, produced.texts, verdict)
        return verdict

    async def records(self) -> dict[str, dict[str, Any]]:
        """The newest committed record of every response."""
        newest: dict[str, dict[str, Any]] = {}
        async for record in self.read(self.names.responses):
            newest[record.key.decode()] = json.loads(record.value)
        return newest

    async def dead_letters(self, response_id: str) -> list[dict[str, Any]]:
        """Returns the dead-lettered token records of a response, as on their topic."""
        values = [json.loads(record.value) async for record in self.read(self.names.dead_letters)]
        return [value for value in values if value["responseId"] == response_id]

    async def read(self, topic: str) -> AsyncIterator[Any]:
        """Every committed record of a topic, in the order of each partition."""
        consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=self.bootstrap,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        await consumer.start()
        try:
            ends = await consumer.end_offsets(consumer.assignment())
            for partition, end in ends.items():
                while await consumer.position(partition) < end:
                    for records in (await consumer.getmany(partition, timeout_ms=300)).values():
                        for record in records:
                            yield record
        finally:
            await consumer.stop()

    async def close(self) -> None:
        for relay in self.relays:
            await relay.kill()


@asynccontextmanager
async def laboratory(bootstrap: str, names: TopicNames, *, limits: bool = False) -> AsyncIterator[Lab]:
    async with LocalRealtime(key=KEY, admin=True, limits=limits) as realtime:
        lab = Lab(bootstrap, names, realtime)
        try:
            yield lab
        finally:
            await lab.close()


def assert_faultless(lab: Lab) -> None:
    """Nothing lost, out of order or unfinished; nothing repeated, not even as published."""
    verdict = lab.verdict()
    assert verdict.faultless_for_readers(), verdict
    assert verdict.repeated_as_published == 0, verdict


async def ended(lab: Lab, response_ids: set[str]) -> dict[str, Any]:
    """The newest records, once each of these responses has its last; for `eventually`."""
    records = await lab.records()
    assert all(records.get(response_id, {}).get("finishedAt") for response_id in response_ids)
    return records
