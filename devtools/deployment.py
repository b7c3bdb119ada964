"""A whole deployment on this machine: Kafka, a local realtime server, and tokenstream itself, each a process of its
own.

All files are in one temporary directory, all ports were free, and everything ends with this process.
"""

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from devtools.children import Child, ChildFailed
from devtools.emulator.server import DEFAULT_KEY
from devtools.free_ports import free_ports
from devtools.kafka import LocalKafka
from processor.kafka.connection import KafkaConnection
from processor.kafka.topics_admin import TopicsWanted, apply
from topics.specs import TopicNames

HOST = "127.0.0.1"
PARTITIONS = 4
FRAMES = "tokenstream.frames"
READY_DEADLINE = 60.0
POLL_SECONDS = 0.1
MAX_RESPONSE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Deployment:
    """What runs, and where. `api` and `realtime_admin` are http addresses, `realtime` is `host:port`.

    With the transport `direct` there is no realtime server.
    """

    directory: Path
    kafka: LocalKafka
    realtime_server: Child | None
    tokenstream: Child
    realtime: str | None
    api: str
    key: str
    http: aiohttp.ClientSession

    @property
    def database(self) -> Path:
        return self.directory / "tokenstream.db"

    @property
    def realtime_admin(self) -> str:
        return f"http://{self.realtime}/admin"

    async def until_ready(self) -> None:
        """Returns when tokenstream reports that it is ready. Raises ChildFailed if it ends, or is not ready in time."""
        await self.until_answers(self.tokenstream, f"{self.api}/readyz")

    async def start_realtime(self) -> None:
        if self.realtime_server is not None:
            self.realtime_server.start()
            await self.until_answers(self.realtime_server, f"http://{self.realtime}/")

    async def stop_realtime(self) -> None:
        if self.realtime_server is not None:
            await self.realtime_server.stop()

    async def until_answers(self, child: Child, url: str) -> None:
        """Returns when the URL answers 200. Raises ChildFailed when the child ends, or does not answer in time."""
        said = "nothing"
        try:
            async with asyncio.timeout(READY_DEADLINE):
                while True:
                    child.check()
                    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                        async with self.http.get(url) as answer:
                            if answer.status == 200:
                                return
                            said = await answer.text()
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise ChildFailed(
                f"{child.name} was not ready in {READY_DEADLINE:g} s; it reported: {said}\n{child.log_tail()}"
            ) from None


@contextlib.asynccontextmanager
async def deployed(
    tell: Callable[[str], None] = lambda _: None,
    *,
    settings: Mapping[str, str] | None = None,
    realtime_options: tuple[str, ...] = (),
    direct: bool = False,
) -> AsyncIterator[Deployment]:
    """Starts everything in order, and ends it in order. `settings` are further ones, without their prefix.

    With `direct` there is no realtime server: tokenstream serves readers itself.
    `tell` is called with what is being started. Raises LocalKafkaFailed or ChildFailed, each with a sentence for
    people.
    """
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tokenstream-demo-")))
        timeout = aiohttp.ClientTimeout(total=5)
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        deployment = _planned(directory, http, settings or {}, realtime_options, direct=direct)
        tell("Starting Apache Kafka")
        stack.push_async_callback(deployment.kafka.close)
        await deployment.kafka.start()
        await apply(
            KafkaConnection(bootstrap_servers=deployment.kafka.bootstrap),
            TopicsWanted(names=TopicNames(frames=FRAMES if direct else None), max_response_bytes=MAX_RESPONSE_BYTES),
            partitions=PARTITIONS,
        )
        if deployment.realtime_server is not None:
            tell("Starting the local realtime server")
        stack.push_async_callback(deployment.stop_realtime)
        await deployment.start_realtime()
        tell("Starting tokenstream")
        stack.push_async_callback(deployment.tokenstream.stop)
        deployment.tokenstream.start()
        await deployment.until_ready()
        yield deployment


def _planned(
    directory: Path,
    http: aiohttp.ClientSession,
    settings: Mapping[str, str],
    realtime_options: tuple[str, ...],
    *,
    direct: bool,
) -> Deployment:
    realtime_port, http_port = free_ports(2)
    kafka = LocalKafka(data=directory / "kafka")
    realtime = f"{HOST}:{realtime_port}"
    ably = {"ABLY_KEY": DEFAULT_KEY, "ABLY_ENDPOINT": realtime, "ABLY_TLS": "false"}
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        **({"REALTIME": "direct", "FRAMES_TOPIC": FRAMES} if direct else ably),
        "STORE_URL": f"sqlite:///{directory / 'tokenstream.db'}",
        "HTTP_HOST": HOST,
        "HTTP_PORT": str(http_port),
        "LOG_FORMAT": "console",
        **settings,
    }
    python = (sys.executable, "-m")
    server = (*python, "devtools.emulator", "--port", str(realtime_port), "--admin", *realtime_options)
    return Deployment(
        directory=directory,
        kafka=kafka,
        realtime_server=None if direct else Child("The local realtime server", *server, log=directory / "realtime.log"),
        tokenstream=Child(
            "tokenstream",
            *python,
            "processor",
            "run",
            log=directory / "tokenstream.log",
            environment={f"TOKENSTREAM_{name}": value for name, value in environment.items()},
        ),
        realtime=None if direct else realtime,
        api=f"http://{HOST}:{http_port}",
        key=DEFAULT_KEY,
        http=http,
    )
