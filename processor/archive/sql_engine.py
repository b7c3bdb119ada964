"""Connections to SQLite and PostgreSQL, as durable and as bounded in time as the store promises."""

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from processor.errors import SettingsError

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 30


def driver_url(url: str) -> URL:
    """The setting's URL with the asyncio driver put in. Raises SettingsError."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise SettingsError(["STORE_URL: is no URL as postgresql://user:password@host/database"]) from error
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
    name = parsed.drivername.split("+", 1)[0]
    if name not in drivers:
        raise SettingsError([f"STORE_URL: {name}:// is no SQL store; known are sqlite:// and postgresql://."])
    return parsed.set(drivername=drivers[name])


def make_engine(url: URL) -> AsyncEngine:
    """Nothing is connected yet."""
    return _sqlite_engine(url) if url.get_backend_name() == "sqlite" else _postgres_engine(url)


def _sqlite_engine(url: URL) -> AsyncEngine:
    engine = create_async_engine(url, connect_args={"timeout": STATEMENT_SECONDS, "isolation_level": None})

    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine.sync_engine, "connect", prepare)
    return engine


def _postgres_engine(url: URL) -> AsyncEngine:
    return create_async_engine(
        _asyncpg_arguments(url),
        pool_size=8,
        max_overflow=2,
        pool_pre_ping=True,
        pool_timeout=STATEMENT_SECONDS,
        connect_args={
            "timeout": CONNECT_SECONDS,
            "command_timeout": STATEMENT_SECONDS,
            "server_settings": {"application_name": "tokenstream"},
        },
    )


def _asyncpg_arguments(url: URL) -> URL:
    """Libpq says `sslmode`, asyncpg `ssl`: people paste libpq's URLs."""
    if "sslmode" not in url.query:
        return url
    mode = url.query["sslmode"]
    return url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
