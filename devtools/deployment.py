"""Deployments of tokenstream on this machine: topics, a realtime service, and processes that are set up for them.

`Deployment` is common to all: processes on a broker and a realtime service that are started elsewhere.
`LocalDeployment` has an emulator as a process of its own.
`deployed` starts one with everything, in a temporary directory.
"""

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiokafka.admin import AIOKafkaAdminClient

from devtools.children import Child, ChildFailed
from devtools.emulator.server import DEFAULT_KEY
from devtools.free_ports import HOST, free_port
from devtools.kafka import LocalKafka
from devtools.process import TokenstreamProcess, prefixed, running
from processor.kafka.connection import KafkaConnection
from processor.kafka.topics_admin import TopicsWanted, apply
from topics.specs import TopicNames

PARTITIONS = 4
FRAMES = "tokenstream.frames"
MAX_RESPONSE_BYTES = 4 * 1024 * 1024


def names_after(prefix: str, *, frames: bool = False) -> TopicNames:
    """Returns topics that are called after `prefix`; with `frames` that of the transport `direct`, too."""
    return TopicNames(
        tokens=f"{prefix}.tokens",
        responses=f"{prefix}.responses",
        dead_letters=f"{prefix}.dead-letters",
        controls=f"{prefix}.controls",
        frames=f"{prefix}.frames" if frames else None,
    )


async def create_topics(bootstrap: str, names: TopicNames, partitions: int = PARTITIONS) -> TopicNames:
    """Creates the topics, and returns their names."""
    await apply(KafkaConnection(bootstrap), TopicsWanted(names, MAX_RESPONSE_BYTES), partitions=partitions)
    return names


async def delete_topics(bootstrap: str, names: Sequence[str]) -> None:
    """Deletes those that are there."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        await admin.delete_topics(list(names))
    finally:
        await admin.close()


def kafka_settings(bootstrap: str, names: TopicNames) -> dict[str, str]:
    """Returns the settings, without their prefix, that name a broker and the topics."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "TOKENS_TOPIC": names.tokens,
        "RESPONSES_TOPIC": names.responses,
        "DEAD_LETTERS_TOPIC": names.dead_letters,
        "CONTROLS_TOPIC": names.controls,
        **({"FRAMES_TOPIC": names.frames} if names.frames else {}),
    }


def ably_settings(endpoint: str, key: str = DEFAULT_KEY) -> dict[str, str]:
    """Returns the settings, without their prefix, that name an emulator."""
    return {"ABLY_KEY": key, "ABLY_ENDPOINT": endpoint, "ABLY_TLS": "false"}


def settings_here() -> dict[str, str]:
    """Returns the settings of tokenstream in this process's own environment, without their prefix."""
    found = {name: value for name, value in os.environ.items() if name.startswith("TOKENSTREAM_")}
    return {name.removeprefix("TOKENSTREAM_"): value for name, value in found.items()}


@dataclass(kw_only=True)
class Deployment:
    """Processes of tokenstream on one broker and one realtime service.

    `endpoint` is the emulator's `host:port`; without one, tokenstream serves readers itself (`REALTIME=direct`).
    `settings` are those of every process, without their prefix; `defaults` those that any other wins over.
    """

    bootstrap: str
    names: TopicNames
    endpoint: str | None
    key: str = DEFAULT_KEY
    group: str | None = None
    """The consumer group; None is called after the topic of tokens."""
    settings: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    """Where logs go; None is a directory that is removed when this process ends."""
    processes: list[TokenstreamProcess] = field(default_factory=list)

    def environment(self, **changes: str) -> dict[str, str]:
        """Returns the variables of a process. A `<NAME>_FILE` among the changes takes the place of NAME."""
        realtime = {"REALTIME": "direct"} if self.endpoint is None else ably_settings(self.endpoint, self.key)
        wanted = {
            **self.defaults,
            **kafka_settings(self.bootstrap, self.names),
            "KAFKA_GROUP_ID": self.group or self.names.tokens,
            **realtime,
            "LOG_FORMAT": "json",
            **self.settings,
            **changes,
        }
        for name in changes:
            if name.endswith("_FILE"):
                wanted.pop(name.removesuffix("_FILE"), None)
        return prefixed(wanted)

    def new(
        self, command: str = "relay", *, program: Sequence[str] = (), name: str | None = None, **changes: str
    ) -> TokenstreamProcess:
        """Returns a process that is not yet started. `changes` are settings without their prefix."""
        number = len(self.processes)
        log = self.directory / f"{command}-{number}.log" if self.directory is not None else None
        name = name or f"{command} {number}"
        process = TokenstreamProcess(self.environment(**changes), command, program=program, log=log, name=name)
        self.processes.append(process)
        return process

    async def close(self) -> None:
        """Kills all processes."""
        await asyncio.gather(*(process.kill() for process in self.processes))


@dataclass(kw_only=True)
class LocalDeployment(Deployment):
    """A deployment with an emulator of its own, where the transport is not `direct`."""

    directory: Path
    kafka: LocalKafka
    partitions: int
    realtime_server: Child | None
    http: aiohttp.ClientSession
    gateway: str | None = None
    """`host:port` of the gateway whose streams are read, once `start_gateway` has started it."""

    @property
    def database(self) -> Path:
        return self.directory / "tokenstream.db"

    @property
    def tokenstream(self) -> TokenstreamProcess:
        """The first process: that of all roles, where one was asked for."""
        return self.processes[0]

    @property
    def api(self) -> str:
        return self.tokenstream.url

    async def start_realtime(self) -> None:
        if self.realtime_server is not None:
            await self.realtime_server.start()
            await self.realtime_server.until_answers(f"http://{self.endpoint}/")

    async def start_gateway(self) -> None:
        """Returns when it is ready. The deployment must have a frames topic."""
        process = self.new("gateway")
        await process.start()
        await process.ready()
        self.gateway = f"{HOST}:{process.port}"

    async def fault(self, rules: Mapping[str, object]) -> None:
        """Turns the emulator's fault switches; an empty mapping turns all of them off. Raises ChildFailed when refused."""
        address = f"http://{self.endpoint}/admin/faults"
        request = self.http.post(address, json=rules) if rules else self.http.delete(address)
        async with request as answer:
            if answer.status != 200:
                raise ChildFailed(f"The realtime server did not take the faults: {await answer.text()}")


@contextlib.asynccontextmanager
async def on_broker(
    kafka: LocalKafka,
    directory: Path,
    names: TopicNames,
    *,
    partitions: int = PARTITIONS,
    group: str | None = None,
    settings: Mapping[str, str] | None = None,
    realtime_options: Sequence[str] = (),
    direct: bool = False,
) -> AsyncIterator[LocalDeployment]:
    """Topics on a running broker, and an emulator of their own. What runs at the end is killed."""
    await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    await create_topics(kafka.bootstrap, names, partitions)
    port = free_port()
    command = (sys.executable, "-m", "devtools.emulator", "--port", str(port), *realtime_options)
    server = None if direct else Child("The local realtime server", *command, log=directory / "realtime.log")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
        deployment = LocalDeployment(
            bootstrap=kafka.bootstrap,
            names=names,
            endpoint=None if direct else f"{HOST}:{port}",
            group=group,
            settings={"STORE_URL": f"sqlite:///{directory / 'tokenstream.db'}", **(settings or {})},
            defaults=settings_here(),
            directory=directory,
            kafka=kafka,
            partitions=partitions,
            realtime_server=server,
            http=http,
        )
        try:
            await deployment.start_realtime()
            yield deployment
        finally:
            await deployment.close()
            if server is not None:
                await server.kill()


@contextlib.asynccontextmanager
async def deployed(
    tell: Callable[[str], None] = lambda _: None,
    *,
    settings: Mapping[str, str] | None = None,
    realtime_options: Sequence[str] = ("--admin",),
    direct: bool = False,
) -> AsyncIterator[LocalDeployment]:
    """Starts Kafka, the emulator and all roles of tokenstream in order, in one process, and ends them in order.

    `settings` are further ones, without their prefix. With `direct` there is no realtime server.
    `tell` is called with what is being started. Raises LocalKafkaFailed or ChildFailed, each with a sentence for
    people.
    """
    with tempfile.TemporaryDirectory(prefix="tokenstream-demo-") as folder:
        directory = Path(folder)
        tell("Starting Apache Kafka")
        async with LocalKafka(data=directory / "kafka") as kafka:
            if not direct:
                tell("Starting the local realtime server")
            wanted = {"LOG_FORMAT": "console", **(settings or {})}
            names = TopicNames(frames=FRAMES if direct else None)
            async with on_broker(
                kafka,
                directory,
                names,
                group="tokenstream",
                settings=wanted,
                realtime_options=realtime_options,
                direct=direct,
            ) as deployment:
                tell("Starting tokenstream")
                process = deployment.new("run", name="tokenstream")
                async with running(process):
                    yield deployment
