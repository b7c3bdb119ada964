"""Starts what a run needs: Kafka, the local realtime server, relays. Each is a process of its own, and ends with this
one.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import aiohttp

from devtools.children import Child
from devtools.emulator.server import DEFAULT_KEY
from devtools.free_ports import free_ports
from devtools.kafka import LocalKafka
from processor.errors import Fatal
from processor.kafka.connection import KafkaConnection
from processor.kafka.topics_admin import TopicsWanted, apply
from topics.specs import TopicNames

HOST = "127.0.0.1"
READY_DEADLINE = 60.0
POLL_SECONDS = 0.02
MAX_RESPONSE_BYTES = 4 * 1024 * 1024
UNPACED = {"ABLY_CHANNEL_RATE": "0", "ABLY_CONNECTION_RATE": "0", "DIRECT_CHANNEL_RATE": "0"}


class StageFailed(Fatal):
    """Something a run needs did not come up in time; the message ends with the tail of its log."""


@dataclass(slots=True)
class Relay:
    """`python -m processor ROLE` with its own port, and the log it writes."""

    role: str
    child: Child
    log: Path
    port: int
    started: float = 0.0
    ready: float = 0.0
    let_go: bool = False

    @property
    def pid(self) -> int:
        assert self.child.pid is not None
        return self.child.pid

    def start(self) -> None:
        self.started = time.monotonic()
        self.child.start()

    def kill(self) -> None:
        """SIGKILL: no goodbye, nothing drained."""
        self.let_go = True
        self.child.kill()

    async def stop(self) -> None:
        self.let_go = True
        await self.child.stop()

    def check(self) -> None:
        """Raises ChildFailed when it ended by itself."""
        if not self.let_go:
            self.child.check()

    def moments(self, event: str) -> list[tuple[float, dict[str, object]]]:
        """Returns when the process logged this event, by the monotonic clock, and the event's fields."""
        shift = time.time() - time.monotonic()
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            if f'"{event}"' not in line:
                continue
            entry = json.loads(line)
            if entry.get("event") == event:
                found.append((datetime.fromisoformat(str(entry["time"])).timestamp() - shift, entry))
        return found


@dataclass(slots=True)
class Stage:
    """One run's topics and realtime server, on a broker that runs may share."""

    directory: Path
    kafka: LocalKafka
    names: TopicNames
    partitions: int
    realtime: str
    server: Child
    http: aiohttp.ClientSession
    settings: Mapping[str, str]
    relays: list[Relay] = field(default_factory=list)
    key: str = DEFAULT_KEY
    gateway: str | None = None
    """`host:port` of the gateway whose streams are read; None where frames go to the realtime server."""

    async def start_gateway(self) -> None:
        """Returns when it is ready. The stage must have a frames topic."""
        gateway = self.new_relay("gateway")
        gateway.start()
        await self.until_ready(gateway)
        self.gateway = f"{HOST}:{gateway.port}"

    def new_relay(self, role: str = "relay", **changes: str) -> Relay:
        """A relay not yet started; settings are given without their prefix."""
        (port,) = free_ports(1)
        log = self.directory / f"relay-{len(self.relays)}.log"
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap,
            "KAFKA_GROUP_ID": self.names.tokens,
            "TOKENS_TOPIC": self.names.tokens,
            "RESPONSES_TOPIC": self.names.responses,
            "DEAD_LETTERS_TOPIC": self.names.dead_letters,
            "CONTROLS_TOPIC": self.names.controls,
            "ABLY_KEY": self.key,
            "ABLY_ENDPOINT": self.realtime,
            "ABLY_TLS": "false",
            "STORE_URL": f"sqlite:///{self.directory / 'tokenstream.db'}",
            "HTTP_HOST": HOST,
            "HTTP_PORT": str(port),
            "LOG_FORMAT": "json",
            **self.settings,
            **changes,
        }
        if self.names.frames is not None:
            environment |= {"REALTIME": "direct", "FRAMES_TOPIC": self.names.frames}
        child = Child(
            f"{role} {len(self.relays)}",
            *(sys.executable, "-m", "processor", role),
            log=log,
            environment={f"TOKENSTREAM_{name}": value for name, value in environment.items()},
        )
        relay = Relay(role, child, log, port)
        self.relays.append(relay)
        return relay

    async def until_ready(self, relay: Relay) -> None:
        await self._until(relay.child, f"http://{HOST}:{relay.port}/readyz")
        relay.ready = time.monotonic()

    async def metrics(self, relay: Relay) -> dict[str, float]:
        """Samples by name, those of one name summed; empty while the relay does not answer."""
        try:
            async with self.http.get(f"http://{HOST}:{relay.port}/metrics") as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return {}
        found: dict[str, float] = {}
        for line in text.splitlines():
            if line.startswith("tokenstream_"):
                name, _, value = line.rpartition(" ")
                bare = name.partition("{")[0]
                found[bare] = found.get(bare, 0.0) + float(value)
        return found

    async def fault(self, rules: Mapping[str, object]) -> None:
        """Turn the realtime server's fault switches; an empty mapping turns all of them off."""
        address = f"http://{self.realtime}/admin/faults"
        request = self.http.post(address, json=rules) if rules else self.http.delete(address)
        async with request as answer:
            if answer.status != 200:
                raise StageFailed(f"The realtime server did not take the faults: {await answer.text()}")

    async def _until(self, child: Child, url: str) -> None:
        said = "nothing"
        deadline = time.monotonic() + READY_DEADLINE
        while time.monotonic() < deadline:
            child.check()
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with self.http.get(url) as answer:
                    if answer.status == 200:
                        return
                    said = await answer.text()
            await asyncio.sleep(POLL_SECONDS)
        raise StageFailed(
            f"{child.name} was not ready in {READY_DEADLINE:g} s; it reported: {said}\n{child.log_tail()}"
        )

    async def serve(self) -> None:
        self.server.start()
        await self._until(self.server, f"http://{self.realtime}/")


@contextlib.asynccontextmanager
async def staged(
    kafka: LocalKafka,
    directory: Path,
    name: str,
    *,
    partitions: int,
    settings: Mapping[str, str] | None = None,
    realtime_options: tuple[str, ...] = (),
    direct: bool = False,
) -> AsyncIterator[Stage]:
    """Topics called after `name` on a running broker, and a realtime server of their own. All relays are killed at the end.

    `direct`: relays publish frames to a topic instead of the realtime server.
    """
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - before anything runs
    names = TopicNames(*(f"{name}.{topic}" for topic in ("tokens", "responses", "dead-letters", "controls")))
    if direct:
        names = replace(names, frames=f"{name}.frames")
    await apply(
        KafkaConnection(bootstrap_servers=kafka.bootstrap),
        TopicsWanted(names=names, max_response_bytes=MAX_RESPONSE_BYTES),
        partitions=partitions,
    )
    (port,) = free_ports(1)
    server = (sys.executable, "-m", "devtools.emulator", "--port", str(port), *realtime_options)
    child = Child("The local realtime server", *server, log=directory / "realtime.log")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
        given = UNPACED if settings is None else settings
        stage = Stage(directory, kafka, names, partitions, f"{HOST}:{port}", child, http, given)
        try:
            await stage.serve()
            yield stage
        finally:
            for relay in stage.relays:
                relay.kill()
            child.kill()
