"""Object storage, as few verbs. The only user of obstore: its exceptions end here.

`replace` is a compare-and-set: the service's own on S3, GCS and Azure; for files, a comparison under a lock of the directory, which
holds for all processes of one machine.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore import exceptions
from obstore.store import LocalStore, from_url

from processor.errors import SettingsError, StoreRefused, StoreUnavailable

ANSWER_SECONDS = 60
PARALLEL = 32
LOCK_FILE = ".tokenstream.lock"


@dataclass(frozen=True, slots=True)
class Stored:
    body: bytes
    condition: Any
    """That it is still this version, as obstore takes it: an ETag, on GCS a generation."""


@dataclass(frozen=True, slots=True)
class Listed:
    key: str
    size: int


class Conflict(Exception):
    """Another process wrote the object in between."""


class Bucket:
    """`url`: `s3://bucket/prefix`, `gs://`, `az://` or `file:///directory`. Credentials and endpoints come from the environment."""

    def __init__(self, url: str) -> None:
        self._name = url
        self._store: Any = _open(url)
        self._lock = Path(self._store.prefix or "/") / LOCK_FILE if isinstance(self._store, LocalStore) else None
        self._turns = asyncio.Semaphore(PARALLEL)

    def __repr__(self) -> str:
        return f"Bucket({self._name})"

    async def get(self, key: str) -> Stored | None:
        async with self._turn():
            try:
                found = await obstore.get_async(self._store, key)
                condition = {name: found.meta[name] for name in ("e_tag", "version") if found.meta[name] is not None}
                return Stored(bytes(await found.bytes_async()), condition)
            except FileNotFoundError:
                return None

    async def put(self, key: str, body: bytes | Path) -> None:
        async with self._turn():
            await obstore.put_async(self._store, key, body)

    async def replace(self, key: str, body: bytes, old: Stored | None) -> None:
        """Write where the object is still `old` (None: where there is none). Raises Conflict."""
        async with self._turn():
            try:
                if old is None:
                    await obstore.put_async(self._store, key, body, mode="create")
                elif self._lock is None:
                    await obstore.put_async(self._store, key, body, mode=old.condition)
                else:
                    await asyncio.to_thread(self._replace_locked, self._lock, key, body, old)
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
                raise Conflict from error

    def _replace_locked(self, lock: Path, key: str, body: bytes, old: Stored) -> None:
        with lock.open("ab") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            try:
                now = obstore.head(self._store, key)
            except FileNotFoundError:
                raise Conflict from None
            if now["e_tag"] != old.condition["e_tag"]:
                raise Conflict
            obstore.put(self._store, key, body)

    async def delete(self, key: str) -> None:
        async with self._turn():
            try:
                await obstore.delete_async(self._store, key)
            except FileNotFoundError:
                pass

    async def walk(self, prefix: str) -> AsyncIterator[Listed]:
        async with self._turn():
            found = [batch async for batch in obstore.list(self._store, prefix=prefix)]
        for batch in found:
            for meta in batch:
                yield Listed(meta["path"], meta["size"])

    async def folders(self, prefix: str) -> list[str]:
        """The names directly under `prefix` (which ends with `/`, or is empty) that have something under them."""
        async with self._turn():
            found = await obstore.list_with_delimiter_async(self._store, prefix=prefix or None)
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found["common_prefixes"])

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with self._turns:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    yield
            except exceptions.InvalidPathError as error:
                raise StoreRefused(f"object storage can't name the record: {_line(error)}") from error
            except (exceptions.BaseError, OSError, TimeoutError) as error:
                raise StoreUnavailable(f"object storage did not answer: {_line(error)}") from error


def _open(url: str) -> Any:
    parts = urlsplit(url)
    if parts.scheme == "file":
        directory = Path(unquote(parts.path))
        if parts.netloc or not directory.is_absolute():
            raise SettingsError(["STORE_URL: a directory is file:///absolute/path"])
        try:
            return LocalStore(directory, mkdir=True)
        except (exceptions.BaseError, OSError) as error:
            raise SettingsError([f"STORE_URL: {directory} can't be used as a directory: {_line(error)}"]) from error
    try:
        return from_url(
            url,
            client_options={"timeout": "30s", "connect_timeout": "5s", "allow_http": _plain_endpoint()},
            retry_config={"max_retries": 2},  # the archive tries for ever; this is for a single lost answer
        )
    except (exceptions.BaseError, ValueError) as error:
        raise SettingsError([f"STORE_URL: {_line(error)}"]) from error


def _plain_endpoint() -> bool:
    """Whether the operator names an endpoint without TLS, as of a MinIO beside us: options given here hide the client's own reading."""
    names = ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AZURE_STORAGE_ENDPOINT")
    return os.environ.get("AWS_ALLOW_HTTP") == "true" or any(
        os.environ.get(name, "").startswith("http://") for name in names
    )


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200] or type(error).__name__
