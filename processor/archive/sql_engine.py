"""Connections to SQLite and PostgreSQL, with the durability and the time limits that the store guarantees.
SQLAlchemy's errors end here.

PostgreSQL may be behind pgbouncer in transaction mode. Therefore no statement is used outside the transaction that
prepared it: none is cached, each has a name of its own, and a pooled connection is tested inside the transaction that
will use it.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from processor.errors import SettingsError, StoreRefused, StoreUnavailable

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 30
REFUSED_CLASSES = ("22", "23", "54")
"""SQLSTATE classes that are about the value given: data exception, constraint, program limit."""
REFUSED_BY_SQLITE = ("SQLITE_TOOBIG", "SQLITE_CONSTRAINT", "SQLITE_MISMATCH")

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
FILES = frozenset({"sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile"})
"""Parameters of PostgreSQL's URL that name a file."""
UNDERSTOOD = FILES | {
    *("host", "port", "user", "password", "dbname", "database"),
    *("sslmode", "sslpassword", "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version"),
    *("target_session_attrs", "krbsrvname", "gsslib"),
}
"""libpq's parameters that the driver reads from the URL by itself."""
CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "primary", "standby", "read-write", "read-only", "prefer-standby"),
}
SERVER_SETTINGS = frozenset(
    {"application_name", "options", "search_path", "statement_timeout", "lock_timeout", "timezone", "client_encoding"}
    | {"idle_in_transaction_session_timeout", "default_transaction_read_only"}
)
"""Parameters that are sent to the server."""
WITHOUT_EFFECT = frozenset(
    {"channel_binding", "gssencmode", "sslcompression", "requirepeer", "hostaddr", "fallback_application_name"}
    | {"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"}
    | {"pgbouncer", "connection_limit", "pool_timeout", "prepared_statement_cache_size", "statement_cache_size"}
    | {"supa", "workaround"}
)
"""Parameters of other drivers and of providers' URLs: what they ask for holds here anyway, or the driver does not have it."""


def driver_url(url: str) -> URL:
    """The setting's URL with the asyncio driver put in. Raises SettingsError, also for a parameter that is not known."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise SettingsError(["STORE_URL: is no URL as postgresql://user:password@host/database"]) from error
    name = parsed.drivername.split("+", 1)[0]
    if name not in DRIVERS:
        raise SettingsError([f"STORE_URL: {name}:// is no SQL store; known are sqlite:// and postgresql://."])
    if name != "sqlite":
        _check_parameters(parsed)
    return parsed.set(drivername=DRIVERS[name])


def _check_parameters(url: URL) -> None:
    known = UNDERSTOOD | SERVER_SETTINGS | WITHOUT_EFFECT | {"connect_timeout"}
    mistakes = [
        f"STORE_URL: unknown parameter {name!r}. Remove it from the URL; a server setting is given as `options=-c%20{name}%3D...`."
        for name in sorted(set(url.query) - known)
    ]
    for name in sorted(FILES & set(url.query)):
        path = str(url.query[name])
        mistakes += [] if Path(path).is_file() else [f"STORE_URL: {name} names no file: {path}"]
    for name, choices in CHOICES.items():
        if url.query.get(name, choices[0]) not in choices:
            mistakes.append(f"STORE_URL: {name} must be one of {', '.join(choices)}")
    if not _seconds(url).is_integer():
        mistakes.append("STORE_URL: connect_timeout must be a whole number of seconds")
    if mistakes:
        raise SettingsError(mistakes)


def _seconds(url: URL) -> float:
    """`connect_timeout`; as in libpq, 0 and less is no limit of its own. NaN where it is no number."""
    text = str(url.query.get("connect_timeout", CONNECT_SECONDS))
    if not text.lstrip("-").isdigit():
        return float("nan")
    return float(text) if int(text) > 0 else float(STATEMENT_SECONDS)


class Database:
    """An engine, its pool, and transactions on it. Nothing is connected before the first."""

    def __init__(self, url: str) -> None:
        self._url = driver_url(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self._engine = _sqlite_engine(self._url) if self.is_sqlite else _postgres_engine(self._url)
        # SQLite has one writer at a time; taking turns here is cheaper than its busy handler.
        self._writing = asyncio.Semaphore(1 if self.is_sqlite else 8)
        self._has_connected = False

    def __repr__(self) -> str:
        return self._url.render_as_string(hide_password=True)

    def prepare(self) -> None:
        """Makes the SQLite file, for its owner alone. Raises StoreUnavailable where its directory is missing."""
        name = self._url.database
        if not self.is_sqlite or not name or name == ":memory:":
            return
        path = Path(name).absolute()
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except FileNotFoundError:
            raise StoreUnavailable(
                f"the store did not answer: there is no directory {path.parent} for the SQLite file"
            ) from None
        except OSError as error:
            raise StoreUnavailable(f"the store did not answer: {path}: {error.strerror}") from error

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, committed at the end of the block. Raises StoreUnavailable and StoreRefused."""
        async with self._writing, self._mapped(), self._connected() as connection:
            if self.is_sqlite:
                # The driver begins late, and then as a reader that may fail to become a writer.
                await connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            await connection.commit()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        async with self._mapped(), self._connected() as connection:
            yield connection

    async def erase(self) -> None:
        """Empties SQLite's write-ahead log, which has what was deleted. Where readers keep it busy, a later one does."""
        if not self.is_sqlite:
            return
        async with self._writing, self._mapped(), self._connected() as connection:
            for pragma in ("busy_timeout=1000", "wal_checkpoint(TRUNCATE)", "busy_timeout=30000"):
                await connection.exec_driver_sql(f"PRAGMA {pragma}")

    async def close(self) -> None:
        await self._engine.dispose()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        """A connection that works: one of the pool may have been closed by the server meanwhile."""
        connection = await self._engine.connect()
        try:
            if not self.is_sqlite:
                connection = await self._proven(connection)
            self._has_connected = True
            yield connection
        finally:
            await connection.close()

    async def _proven(self, connection: AsyncConnection) -> AsyncConnection:
        try:
            await connection.exec_driver_sql("SELECT 1")
        except DBAPIError as error:
            await connection.close()
            if not error.connection_invalidated:
                raise
            return await self._engine.connect()  # a new one: the failure has emptied the pool
        return connection

    def _misconfigured(self, error: BaseException) -> SettingsError | StoreUnavailable:
        """What once was right, such as a file of certificates, may come back."""
        if self._has_connected:
            return StoreUnavailable(f"the store did not answer: {first_line(error)}")
        return SettingsError([f"STORE_URL: {first_line(error)}"])

    @asynccontextmanager
    async def _mapped(self) -> AsyncIterator[None]:
        try:
            # SQLite is bounded by its busy handler, and a transaction cut off here would keep its write lock.
            async with asyncio.timeout(None if self.is_sqlite else 2 * STATEMENT_SECONDS):
                yield
        except DBAPIError as error:
            given = error.orig.__cause__ if error.orig is not None else None
            if isinstance(given, asyncpg.exceptions.ClientConfigurationError):
                raise self._misconfigured(given) from error
            raise _map(error) from error
        except StatementError as error:
            raise StoreRefused(f"the store can't take the record: {first_line(error.orig or error)}") from error
        except asyncpg.exceptions.ClientConfigurationError as error:
            raise self._misconfigured(error) from error
        except (SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            raise StoreUnavailable(f"the store did not answer: {first_line(error)}") from error


def _sqlite_engine(url: URL) -> AsyncEngine:
    engine = create_async_engine(url, connect_args={"timeout": STATEMENT_SECONDS, "isolation_level": None})

    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=30000",
            "secure_delete=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine.sync_engine, "connect", prepare)
    return engine


def _postgres_engine(url: URL) -> AsyncEngine:
    """The driver reads the URL itself, as libpq does: TLS files, several hosts, passwords from a file."""
    kept = url.difference_update_query([*WITHOUT_EFFECT, "connect_timeout"]).set(drivername="postgresql")
    dsn = kept.render_as_string(hide_password=False)
    settings = {} if "application_name" in kept.query else {"application_name": "tokenstream"}
    timeout = _seconds(url)

    async def connect(**_: object) -> Any:
        return await asyncpg.connect(
            dsn,
            timeout=timeout,
            command_timeout=STATEMENT_SECONDS,
            server_settings=settings,
            statement_cache_size=0,
        )

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=8,
        max_overflow=2,
        pool_timeout=STATEMENT_SECONDS,
        connect_args={
            "prepared_statement_cache_size": 0,
            "prepared_statement_name_func": lambda: f"tokenstream-{uuid.uuid4()}",
        },
    )


def _map(error: DBAPIError) -> StoreUnavailable | StoreRefused:
    cause = cast("Any", error.orig)
    state = str(getattr(cause, "sqlstate", "") or getattr(cause, "pgcode", "") or "")
    name = str(getattr(cause, "sqlite_errorname", ""))
    if state.startswith(REFUSED_CLASSES) or name.startswith(REFUSED_BY_SQLITE):
        return StoreRefused(f"the store can't take the record: {first_line(cause)}")
    return StoreUnavailable(f"the store did not answer: {first_line(cause)}")


def first_line(error: BaseException) -> str:
    """What is shown of a driver's error: never its parameters, which hold text."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300] or type(error).__name__
