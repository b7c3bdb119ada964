"""PostgreSQL's URLs as providers give them: what has a meaning is applied, what is harmless is ignored, the rest is refused."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from devtools.free_ports import free_port
from devtools.stores import opened
from processor.archive.opening import open_patiently
from processor.archive.sql import SqlStore
from processor.archive.stores import open_store
from processor.clock import Clock
from processor.errors import SettingsError
from processor.ports.store import ResponseStore
from processor.telemetry.metrics import Metrics
from support.records import entry
from support.stores import new_store_url
from topics.records import Status

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

GIVEN = (
    "application_name=billing",
    "connect_timeout=5",
    "connect_timeout=0",
    "sslmode=prefer&channel_binding=prefer",
    "pgbouncer=true&connection_limit=1&pool_timeout=10",
    "statement_cache_size=0&prepared_statement_cache_size=0",
    "target_session_attrs=any",
    "options=-c%20search_path%3Dpublic",
    "keepalives=1&keepalives_idle=30&gssencmode=disable",
)


@pytest.mark.parametrize("parameters", GIVEN)
async def test_a_parameter_that_providers_give_is_taken(tmp_path: Path, parameters: str) -> None:
    url = f"{await new_store_url('postgres', tmp_path)}&{parameters}"
    for given in (url, url.replace("postgresql://", "postgres://", 1)):
        async with opened(given) as store:
            await store.upsert_batch([entry("r-1")])
            assert await store.get("r-1") is not None


@pytest.mark.parametrize("parameter", ["sslmod=require", "nonsense=1"])
def test_an_unknown_parameter_is_a_wrong_setting(parameter: str) -> None:
    with pytest.raises(
        SettingsError, match=f"^STORE_URL: unknown parameter '{parameter.split('=', maxsplit=1)[0]}'"
    ) as raised:
        open_store(f"postgresql://u:hidden@h/d?{parameter}")
    assert len(raised.value.mistakes) == 1
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize(
    "parameter", ["sslrootcert=/no/ca.pem", "connect_timeout=soon", "sslmode=sometimes", "target_session_attrs=purple"]
)
def test_a_parameter_of_a_wrong_value_is_named(parameter: str) -> None:
    with pytest.raises(SettingsError, match=f"^STORE_URL: {parameter.split('=', maxsplit=1)[0]}"):
        open_store(f"postgresql://u:p@h/d?{parameter}")


class Pgbouncer:
    """In transaction mode, before the run's PostgreSQL: two server connections for all clients."""

    def __init__(self, directory: Path, url: str) -> None:
        parts = make_url(url)
        self._port = free_port()
        settings = directory / "pgbouncer.ini"
        users = directory / "users.txt"
        users.write_text('"postgres" ""\n')
        settings.write_text(
            f"""[databases]
* = host={parts.query["host"]} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self._port}
unix_socket_dir =
auth_type = any
auth_file = {users}
pool_mode = transaction
default_pool_size = 2
ignore_startup_parameters = extra_float_digits
"""
        )
        directory.chmod(0o755)
        for path in (settings, users):
            path.chmod(0o644)
        self._log = (directory / "log").open("ab")
        user = ("-u", Path(str(parts.query["host"])).owner()) if os.getuid() == 0 else ()  # it refuses to run as root
        self._process = subprocess.Popen([str(PGBOUNCER), *user, str(settings)], stderr=self._log)
        self.url = f"postgresql://postgres@127.0.0.1:{self._port}/{parts.database}?pgbouncer=true&connect_timeout=5"

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()


async def use(store: ResponseStore) -> None:
    async def work(n: int) -> None:
        await store.upsert_batch([entry(f"r-{n}", offset=2 * n, status=Status.STREAMING)])
        await store.hydrate("chat:1", limit=5)
        await store.upsert_batch([entry(f"r-{n}", offset=2 * n + 1)])
        assert await store.get(f"r-{n}") is not None
        await store.list_channel("chat:1", limit=3)

    await asyncio.gather(*(work(n) for n in range(30)))


@pytest.mark.long
async def test_pgbouncer_in_transaction_mode_serves_every_request() -> None:
    assert PGBOUNCER is not None, "pgbouncer is not installed. Install the package pgbouncer."
    directory = await asyncio.to_thread(lambda: Path(tempfile.mkdtemp(prefix="tokenstream-pgbouncer-")))
    bouncer = Pgbouncer(directory, await new_store_url("postgres", directory))
    try:
        async with opened_once_there(bouncer.url) as store, opened_once_there(bouncer.url) as other:
            await asyncio.gather(use(store), use(other))
            assert len((await store.hydrate("chat:1", limit=50)).items) == 30
    finally:
        bouncer.close()
        shutil.rmtree(directory)


@asynccontextmanager
async def opened_once_there(url: str) -> AsyncIterator[ResponseStore]:
    store = open_store(url)
    async with asyncio.timeout(60):
        await open_patiently(store, Metrics())
    try:
        yield store
    finally:
        await store.close()


async def test_no_statement_stays_prepared_on_a_connection(tmp_path: Path) -> None:
    """What pgbouncer needs: the next transaction may run on another connection, where only new names are free."""
    url = await new_store_url("postgres", tmp_path)
    store = SqlStore(url, clock=Clock())
    await store.start()
    await use(store)
    async with store._read() as connection:
        rows = await connection.exec_driver_sql("SELECT name FROM pg_prepared_statements")
        names = [row.name for row in rows]
    await store.close()
    assert [name for name in names if not name.startswith("tokenstream-")] == []
    assert len(names) <= 1
