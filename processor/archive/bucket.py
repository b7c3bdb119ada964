"""Object storage with few operations. The only user of obstore; its exceptions end here.

`replace` is a compare-and-set: the service's own on S3, GCS and Azure, tried at the start; for files, a comparison
under a lock.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import obstore
from obstore import exceptions
from obstore.store import LocalStore, from_url

from processor.archive.directory import Directory
from processor.errors import Correctable, SettingsError, StoreRefused, StoreUnavailable

ANSWER_SECONDS = 60
PARALLEL = 32
CONDITIONS = "conditions/"
"""Where it is tried at the start whether the service keeps to conditional writes."""


@dataclass(frozen=True, slots=True)
class Stored:
    body: bytes
    condition: Any
    """That it is still this version, as obstore takes it: an ETag, on GCS a generation."""
    written_at: int = 0
    """Milliseconds, by the service's clock."""


@dataclass(frozen=True, slots=True)
class Listed:
    key: str
    size: int
    written_at: int
    """Milliseconds, by the service's clock."""


class PermissionRefused(StoreUnavailable):
    """The credentials do not allow it."""


class Conflict(Correctable):
    """Another process wrote the object in between."""


class Bucket:
    """`url`: `s3://bucket/prefix`, `gs://`, `az://` or `file:///directory`.

    Credentials and endpoints come from the environment, unless `options` gives them by the same names.
    """

    def __init__(self, url: str, options: Mapping[str, str] | None = None) -> None:
        self._name = url
        self._store: Any = _open(url, options or {})
        self._directory = _directory(self._store) if isinstance(self._store, LocalStore) else None
        self._turns = asyncio.Semaphore(PARALLEL)

    def __repr__(self) -> str:
        return f"Bucket({self._name})"

    async def start(self) -> None:
        """Raises SettingsError when the service does not keep to conditional writes: a store can't be right without."""
        if self._directory is not None:
            async with self._turn():
                await asyncio.to_thread(self._directory.sweep)
            return
        key = f"{CONDITIONS}{uuid.uuid4().hex}"
        if not await self._may_write(key):
            return
        try:
            await self._check_conditions(key)
        finally:
            await self.delete(key)

    async def _may_write(self, key: str) -> bool:
        """A reader's credentials refuse every write, so nothing can go wrong with one."""
        try:
            await self.put(key, b"")
        except PermissionRefused:
            return False
        await self.delete(key)
        return True

    async def _check_conditions(self, key: str) -> None:
        await self._try_condition(key, b"1", None)
        first = await self._written(key, b"1")
        await self._refuses(key, None)
        await self._try_condition(key, b"2", first)
        await self._written(key, b"2")
        await self._refuses(key, first)

    async def _try_condition(self, key: str, body: bytes, old: Stored | None) -> None:
        """A service that takes plain writes and fails conditional ones, twice, does not have them."""
        for last in (False, True):
            try:
                await self.replace(key, body, old)
            except Conflict:
                return  # the client tried again after a lost answer, or the service is at fault: what is there decides
            except PermissionRefused:
                raise
            except StoreUnavailable as error:
                await self.put(f"{key}.plain", b"")
                await self.delete(f"{key}.plain")
                if last:
                    raise self._unfit(f"does not take them: {error}") from error
            else:
                return

    async def _written(self, key: str, body: bytes) -> Stored:
        stored = await self.get(key)
        if stored is None or stored.body != body:
            raise self._unfit("refuses one whose condition holds")
        return stored

    async def _refuses(self, key: str, old: Stored | None) -> None:
        try:
            await self.replace(key, b"3", old)
        except Conflict:
            return
        raise self._unfit("ignores their condition and overwrites the object")

    def _unfit(self, why: str) -> SettingsError:
        mistake = (
            f"STORE_URL: {self._name} needs conditional writes (If-None-Match, If-Match), and the service {why}. "
            "Use a service that has them, or a SQL store."
        )
        return SettingsError([mistake])

    async def get(self, key: str) -> Stored | None:
        async with self._turn():
            try:
                found = await obstore.get_async(self._store, key)
                condition = {name: found.meta[name] for name in ("e_tag", "version") if found.meta[name] is not None}
                written_at = int(found.meta["last_modified"].timestamp() * 1000)
                return Stored(bytes(await found.bytes_async()), condition, written_at)
            except FileNotFoundError:
                return None

    async def put(self, key: str, body: bytes | Path) -> None:
        async with self._turn():
            if self._directory is not None:
                await asyncio.to_thread(self._directory.write, key, body)
            else:
                await obstore.put_async(self._store, key, body)

    async def replace(self, key: str, body: bytes, old: Stored | None) -> None:
        """Writes if the object is still `old` (None: does not exist). Raises Conflict."""
        async with self._turn():
            try:
                if self._directory is not None:
                    await asyncio.to_thread(self._replace_locked, self._directory, key, body, old)
                elif old is None:
                    await obstore.put_async(self._store, key, body, mode="create")
                else:
                    await obstore.put_async(self._store, key, body, mode=old.condition)
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
                raise Conflict from error

    def _replace_locked(self, directory: Directory, key: str, body: bytes, old: Stored | None) -> None:
        with directory.locked():
            try:
                now = obstore.head(self._store, key)["e_tag"]
            except FileNotFoundError:
                now = None
            if now != (None if old is None else old.condition["e_tag"]):
                raise Conflict
            directory.write(key, body)

    async def delete(self, key: str) -> None:
        async with self._turn():
            if self._directory is not None:
                await asyncio.to_thread(self._directory.remove, key)
                return
            try:
                await obstore.delete_async(self._store, key)
            except FileNotFoundError:
                pass

    async def walk(self, prefix: str) -> AsyncIterator[Listed]:
        async with self._turn():
            found = [batch async for batch in obstore.list(self._store, prefix=prefix)]
        for batch in found:
            for meta in batch:
                yield Listed(meta["path"], meta["size"], int(meta["last_modified"].timestamp() * 1000))

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
            except exceptions.PermissionDeniedError as error:
                raise PermissionRefused(f"object storage refused it: {_line(error)}") from error
            except (exceptions.BaseError, OSError, TimeoutError) as error:
                raise StoreUnavailable(f"object storage did not answer: {_line(error)}") from error


def _directory(store: LocalStore) -> Directory:
    return Directory(Path(store.prefix or "/"))


def _open(url: str, options: Mapping[str, str]) -> Any:
    parts = urlsplit(url)
    if parts.scheme == "file":
        directory = Path(unquote(parts.path))
        if parts.netloc or not directory.is_absolute():
            raise SettingsError(["STORE_URL: a directory is file:///absolute/path"])
        try:
            Directory(directory)
            return LocalStore(directory)
        except (exceptions.BaseError, OSError) as error:
            raise SettingsError([f"STORE_URL: {directory} can't be used as a directory: {_line(error)}"]) from error
    try:
        return from_url(
            url,
            config=cast("Any", dict(options) or None),
            client_options={
                "timeout": "30s",
                "connect_timeout": "5s",
                "allow_http": _plain_endpoint(os.environ | dict(options)),
            },
            retry_config={"max_retries": 2},  # the archive retries without end; this is for a single lost answer
        )
    except (exceptions.BaseError, ValueError) as error:
        raise SettingsError([f"STORE_URL: {_line(error)}"]) from error


def _plain_endpoint(environment: Mapping[str, str]) -> bool:
    """Whether the operator names an endpoint without TLS, as of a MinIO beside us: options given here hide the client's own reading."""
    names = ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AZURE_STORAGE_ENDPOINT")
    return environment.get("AWS_ALLOW_HTTP") == "true" or any(
        environment.get(name, "").startswith("http://") for name in names
    )


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200] or type(error).__name__
