"""A real Apache Kafka on this machine: one KRaft node, broker and controller in one process, bound to loopback.

For tests and `tokenstream demo`. The jars are those of deploy/kafka/pom.xml, put into the cache by `make kafka`.

    python -m devtools.kafka --port 9092 --data .cache/kafka-data

`make kafka` also makes what a start takes longest for, once (`python -m devtools.kafka --prepare`): the classes in the
form that Java maps into memory, and formatted storage. Without them a broker starts as well, in twice the time.
"""

import argparse
import asyncio
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from devtools.children import tail, tied
from devtools.free_ports import HOST, free_ports
from processor.errors import Fatal

VERSION = "4.4.0"  # of deploy/kafka/pom.xml
READY_LINE = b"Kafka Server started"
POLL_SECONDS = 0.05
STOP_SECONDS = 20.0
IN_MEMORY = Path("/dev/shm")
PLENTY = 4 * 2**30
CLUSTER_ID = "dG9rZW5zdHJlYW0tbG9jYQ"

LOGGING = """\
status = warn
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n%ex
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
# Reports when the broker is ready.
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
"""


class LocalKafkaFailed(Fatal):
    """The broker did not start; the message ends with the tail of its log."""


class LocalKafka:
    """One broker, from start to stop; may be started again on the same data and the same ports.

    - `bootstrap` is valid from construction on, and does not change.
    - Without `data` a temporary directory is used, in memory where there is plenty; `close()` (or leaving `async with`)
      removes it.
    - `extra_listeners` maps a listener's name to its protocol, for example {"SECURE": "SASL_SSL"}; each has its own
      port, in `listeners["SECURE"]` as "127.0.0.1:PORT". `extra_properties` win over every property written here;
      `format_arguments` go to the storage tool (such as --add-scram), `java_options` to the broker's Java.
    - With `pid` it is a broker that another process has started, and ends, on that port and data.
    - The broker dies when the thread that started it ends, also by SIGKILL: see `devtools.tied`.
    """

    def __init__(
        self,
        *,
        port: int | None = None,
        data: Path | None = None,
        pid: int | None = None,
        extra_listeners: Mapping[str, str] | None = None,
        extra_properties: Mapping[str, str] | None = None,
        format_arguments: Sequence[str] = (),
        jars: Path | None = None,
        java_options: Sequence[str] = (),
    ) -> None:
        ports = free_ports(2 + len(extra_listeners or {}))
        self.port = port or ports[0]
        self._controller_port = ports[1]
        self._protocols = dict(extra_listeners or {})
        self.listeners = {name: f"{HOST}:{p}" for name, p in zip(self._protocols, ports[2:], strict=True)}
        self._extra_properties = dict(extra_properties or {})
        self._format_arguments = tuple(format_arguments)
        self._jars = jars or jars_directory()
        self._java_options = tuple(java_options)
        self.data = (data or Path(tempfile.mkdtemp(prefix="tokenstream-kafka-", dir=scratch()))).absolute()
        self._remove_data = weakref.finalize(self, shutil.rmtree, self.data, ignore_errors=True) if not data else None
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = pid
        self._log_start = 0

    def __repr__(self) -> str:
        state = f"pid={self._process.pid}" if self._process and self._process.poll() is None else "down"
        return f"LocalKafka({self.bootstrap}, {state}, data={self.data})"

    @property
    def bootstrap(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        return self.data / "broker.log"

    @property
    def pid(self) -> int:
        return self._running().pid if self._pid is None else self._pid

    # Starting

    async def start(self, *, deadline: float = 60.0) -> None:
        """Return when the broker serves. Raises `LocalKafkaFailed` when it ends, or is not ready within `deadline` s."""
        self._launch()
        until = time.monotonic() + deadline
        while not self._is_ready(until):
            await asyncio.sleep(POLL_SECONDS)

    def start_blocking(self, *, deadline: float = 60.0) -> None:
        """As `start`, for callers without an event loop."""
        self._launch()
        until = time.monotonic() + deadline
        while not self._is_ready(until):
            time.sleep(POLL_SECONDS)

    def _launch(self) -> None:
        if self._process and self._process.poll() is None:
            raise LocalKafkaFailed(f"{self!r} is already running.")
        if not any(self._jars.glob(f"kafka_*-{VERSION}.jar")):
            raise LocalKafkaFailed(f"Apache Kafka {VERSION} is not in {self._jars}: run `make kafka`.")
        if not shutil.which("java"):
            raise LocalKafkaFailed("There is no `java` on PATH: install a Java 17 runtime (openjdk-17-jre-headless).")
        properties = self._configured()
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*tied(), "/bin/sh", "-c", self._script(properties)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal is for the parent, which stops the broker in its order
            )

    def _configured(self) -> Path:
        """Returns the file of properties, which it writes, and that of the log."""
        self.data.mkdir(parents=True, exist_ok=True)
        properties = self.data / "server.properties"
        properties.write_text("".join(f"{k}={v}\n" for k, v in self._properties().items()))
        (self.data / "log4j2.properties").write_text(LOGGING)
        return properties

    def _script(self, properties: Path) -> str:
        """Format the storage if it is new, then become the broker: one process id from first to last."""
        java = [*self._java, *self._java_options]
        broker = f"exec {shlex.join([*java, 'kafka.Kafka', str(properties)])}"
        storage = self.data / "logs"
        if not self._format_arguments and not storage.exists() and formatted_storage(self._jars).exists():
            shutil.copytree(formatted_storage(self._jars), storage)
        if (storage / "meta.properties").exists():
            return broker
        return f"{shlex.join(self._formatting(properties))} && {broker}"

    def format_blocking(self) -> None:
        """Formats new storage, as a first start does. Raises CalledProcessError where the tool does."""
        subprocess.run(self._formatting(self._configured()), check=True, stdout=subprocess.DEVNULL)

    def _formatting(self, properties: Path) -> list[str]:
        tool = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties)]
        return [*self._java, *tool, *self._format_arguments]

    @property
    def _java(self) -> list[str]:
        """The words of a command before its class."""
        classes = shared_classes(self._jars)
        shared = [f"-XX:SharedArchiveFile={classes}"] if classes.exists() else []
        flags = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *shared, self._logging]
        return ["java", *flags, "-cp", f"{self._jars}/*"]

    async def run_tool(self, main_class: str, *arguments: str, deadline: float = 60.0) -> str:
        """Run one of Kafka's own command-line tools, such as org.apache.kafka.tools.TopicCommand; what it printed."""
        tool = await asyncio.create_subprocess_exec(
            *self._java, main_class, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            async with asyncio.timeout(deadline):
                printed, _ = await tool.communicate()
        finally:
            if tool.returncode is None:
                tool.kill()
        if tool.returncode:
            raise LocalKafkaFailed(f"{main_class} ended with code {tool.returncode}.\n{printed.decode()}")
        return printed.decode()

    @property
    def _logging(self) -> str:
        return f"-Dlog4j2.configurationFile={self.data / 'log4j2.properties'}"

    def _properties(self) -> dict[str, str]:
        protocols = {"PLAINTEXT": "PLAINTEXT", **self._protocols}
        addresses = {"PLAINTEXT": self.bootstrap, **self.listeners}
        served = [f"{name}://{address}" for name, address in addresses.items()]
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{HOST}:{self._controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": ",".join([*served, f"CONTROLLER://{HOST}:{self._controller_port}"]),
            "advertised.listeners": ",".join(served),
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": ",".join(
                f"{name}:{protocol}" for name, protocol in {**protocols, "CONTROLLER": "PLAINTEXT"}.items()
            ),
            "log.dirs": str(self.data / "logs"),
            "auto.create.topics.enable": "false",
            # A broker that was killed may register again once its last session has ended: 9 s by default.
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "500",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "log.cleaner.dedupe.buffer.size": str(8 * 2**20),  # the default takes a quarter of the heap
            **self._extra_properties,
        }

    def _is_ready(self, until: float) -> bool:
        process = self._running()
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            if READY_LINE in log.read():
                return True
        if time.monotonic() < until:
            return False
        process.kill()
        process.wait()
        raise LocalKafkaFailed(f"Kafka at {self.bootstrap} was not ready in time.\n{self.log_tail()}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise LocalKafkaFailed(f"Kafka at {self.bootstrap} is not started.")
        if self._process.poll() is not None:
            raise LocalKafkaFailed(
                f"Kafka at {self.bootstrap} ended with code {self._process.returncode}.\n{self.log_tail()}"
            )
        return self._process

    def log_tail(self, lines: int = 30) -> str:
        return tail(self.log, lines)

    # Failing and stopping

    def kill(self) -> None:
        """SIGKILL, as a machine that lost its power; `start()` recovers on the same data and port."""
        process = self._running()
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers, until `resume()`."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    async def stop(self, *, deadline: float = STOP_SECONDS) -> None:
        """SIGTERM, and SIGKILL after `deadline` s. The data stay. Does nothing when the broker is down."""
        until = time.monotonic() + deadline
        while not self._is_stopped(until):
            await asyncio.sleep(POLL_SECONDS)

    def stop_blocking(self, *, deadline: float = STOP_SECONDS) -> None:
        until = time.monotonic() + deadline
        while not self._is_stopped(until):
            time.sleep(POLL_SECONDS)

    def _is_stopped(self, until: float) -> bool:
        process = self._process
        if process is None or process.poll() is not None:
            self._process = None
            return True
        process.send_signal(signal.SIGCONT)  # a paused broker hears nothing else
        process.terminate() if time.monotonic() < until else process.kill()
        return False

    async def close(self) -> None:
        """Stop; where the data's directory was made here kill, and remove the data."""
        await self.stop(deadline=0.0 if self._remove_data else STOP_SECONDS)
        self._forget()

    def close_blocking(self) -> None:
        self.stop_blocking(deadline=0.0 if self._remove_data else STOP_SECONDS)
        self._forget()

    def _forget(self) -> None:
        if self._remove_data:
            self._remove_data()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self.close_blocking()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def jars_directory() -> Path:
    """Where `make kafka` puts the jars: $CACHE_OF_TOKENSTREAM, or tokenstream/ in the user's cache."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("CACHE_OF_TOKENSTREAM") or user / "tokenstream") / f"kafka-{VERSION}"


def scratch() -> str | None:
    """Returns a directory for data that are removed: in memory where there is plenty; None is the system's own."""
    plenty = IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free >= PLENTY
    return str(IN_MEMORY) if plenty else None


def shared_classes(jars: Path) -> Path:
    """Where the classes are in the form of the Java on PATH, which reads no other's."""
    java = Path(shutil.which("java") or "java").resolve()
    made = java.stat().st_mtime_ns if java.exists() else 0
    return jars / f"classes-{hashlib.sha256(f'{java} {made}'.encode()).hexdigest()[:12]}.jsa"


def formatted_storage(jars: Path) -> Path:
    return jars / "formatted"


async def prepare(jars: Path) -> None:
    """Makes the shared classes and the formatted storage, where they are not there."""
    if shared_classes(jars).exists() and formatted_storage(jars).exists():
        return
    shared_classes(jars).unlink(missing_ok=True)
    shutil.rmtree(formatted_storage(jars), ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=jars) as folder:
        classes, data, storage = (Path(folder) / name for name in ("classes", "data", "formatted"))
        broker = LocalKafka(jars=jars, data=data, java_options=[f"-XX:ArchiveClassesAtExit={classes}"])
        broker.format_blocking()
        shutil.copytree(data / "logs", storage)
        await broker.start()
        await broker.stop(deadline=60)
        storage.rename(formatted_storage(jars))
        classes.rename(shared_classes(jars))


async def run(port: int | None, data: Path | None) -> None:
    """Run one broker until SIGINT or SIGTERM."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with LocalKafka(port=port, data=data) as kafka:
        print(f"Kafka {VERSION} at {kafka.bootstrap}, data and log in {kafka.data}. Ctrl-C stops it.", flush=True)
        await stopping.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m devtools.kafka", description=__doc__)
    parser.add_argument("--port", type=int, default=9092, help="0: any that is free (default %(default)s)")
    parser.add_argument("--data", type=Path, help="kept between runs; a temporary directory without it")
    parser.add_argument("--prepare", action="store_true", help="make what speeds up every start, and run nothing")
    arguments = parser.parse_args()
    try:
        asyncio.run(prepare(jars_directory()) if arguments.prepare else run(arguments.port or None, arguments.data))
    except LocalKafkaFailed as failure:
        sys.exit(str(failure))


if __name__ == "__main__":
    main()
