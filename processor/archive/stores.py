"""Selects the store that a URL names, and imports only what that store needs: a start loads no other's libraries."""

from processor.clock import Clock
from processor.errors import SettingsError
from processor.ports.store import ResponseStore

SQL_SCHEMES = frozenset({"sqlite", "postgresql", "postgres"})
OBJECT_SCHEMES = frozenset({"file", "s3", "gs", "az"})


def open_store(url: str, *, clock: Clock | None = None) -> ResponseStore:
    """Nothing is connected yet: call `start()`. Raises SettingsError for a URL that names no store."""
    scheme = url.split(":", 1)[0].split("+", 1)[0]
    if scheme in SQL_SCHEMES:
        from processor.archive.sql import SqlStore  # noqa: PLC0415

        return SqlStore(url, clock=clock or Clock())
    if scheme in OBJECT_SCHEMES:
        from processor.archive.objects import ObjectStore  # noqa: PLC0415

        return ObjectStore(url, clock=clock or Clock())
    known = ", ".join(f"{name}://" for name in sorted(SQL_SCHEMES | OBJECT_SCHEMES))
    raise SettingsError([f"STORE_URL: {scheme}:// names no store; known are {known}."])
