"""PostgreSQL over TLS: the files and the mode that the URL names decide which server is trusted, and as whom the client comes."""

import asyncio
import contextlib
import shutil
import ssl
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest
from sqlalchemy.engine import make_url

from devtools.stores import opened
from processor.archive.sql_engine import Database
from processor.errors import StoreUnavailable
from support.records import entry
from support.secured import KEY_PASSWORD, Certificates
from support.stores import new_store_url

SSL_REQUEST = struct.pack(">ii", 8, 80877103)
CHUNK = 65_536
DEADLINE = 30


@dataclass
class TlsFront:
    """Terminates TLS before a PostgreSQL server that listens on a Unix socket, as PostgreSQL's protocol asks for it.

    `asked` counts connections, `ciphers` has the cipher of each that completed its handshake. What asks for no TLS is closed.
    """

    context: ssl.SSLContext
    behind: str
    ciphers: list[str] = field(default_factory=list)
    asked: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST:
                await self._secured(reader, writer)
        writer.close()

    async def _secured(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"S")
        await writer.start_tls(self.context)
        self.ciphers.append(writer.get_extra_info("cipher")[0])
        behind, to_behind = await asyncio.open_unix_connection(self.behind)
        async with asyncio.TaskGroup() as both:
            both.create_task(_copy(reader, to_behind))
            both.create_task(_copy(behind, writer))


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await source.read(CHUNK):
            sink.write(chunk)
            await sink.drain()
    sink.close()


@dataclass(frozen=True)
class Served:
    front: TlsFront
    port: int
    database: str

    def url(self, host: str = "127.0.0.1", **parameters: object) -> str:
        given = {"connect_timeout": DEADLINE, **parameters}
        return f"postgresql://postgres@{host}:{self.port}/{self.database}?{urlencode(given)}"


@asynccontextmanager
async def served(directory: Path, certificate: Path, *, clients_of: Path | None = None) -> AsyncIterator[Served]:
    """The run's PostgreSQL with an empty database. `clients_of`: the authority whose clients alone are let in."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    if clients_of is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients_of)
    behind = make_url(await new_store_url("postgres", directory))
    front = TlsFront(context, f"{behind.query['host']}/.s.PGSQL.5432")
    server = await asyncio.start_server(front.serve, "127.0.0.1")
    async with server:
        yield Served(front, server.sockets[0].getsockname()[1], str(behind.database))


async def stores(url: str) -> None:
    async with opened(url) as store:
        await store.upsert_batch([entry("r-1")])
        assert await store.get("r-1") is not None


MODES: Mapping[str, Mapping[str, str]] = {
    "verify-full": {"sslmode": "verify-full", "sslrootcert": "authority"},
    "verify-ca": {"sslmode": "verify-ca", "sslrootcert": "authority"},
    "require": {"sslmode": "require"},
}


def parameters(certificates: Certificates, given: Mapping[str, str]) -> dict[str, str]:
    """With the path of a file for its name."""
    return {name: str(getattr(certificates, value, value)) for name, value in given.items()}


@pytest.mark.parametrize("mode", MODES)
async def test_a_store_behind_tls_is_written_and_read(tmp_path: Path, certificates: Certificates, mode: str) -> None:
    async with served(tmp_path, certificates.server) as there:
        await stores(there.url(**parameters(certificates, MODES[mode])))
        assert len(there.front.ciphers) == there.front.asked > 0


WRONG: Mapping[str, Mapping[str, str]] = {
    "an authority that did not sign": {"sslmode": "verify-full", "sslrootcert": "strangers_authority"},
    "an authority that did not sign, any name": {"sslmode": "verify-ca", "sslrootcert": "strangers_authority"},
    "a root certificate, by which require verifies": {"sslmode": "require", "sslrootcert": "strangers_authority"},
    "another name": {"sslmode": "verify-full", "sslrootcert": "authority", "host": "localhost"},
    "no TLS": {"sslmode": "disable"},
}


@pytest.mark.parametrize("case", WRONG)
async def test_a_server_that_is_not_trusted_gets_nothing(tmp_path: Path, certificates: Certificates, case: str) -> None:
    async with served(tmp_path, certificates.server) as there:
        with pytest.raises(StoreUnavailable, match=r"^the store did not answer: "):
            await stores(there.url(**parameters(certificates, WRONG[case])))
        assert there.front.asked > 0
        assert there.front.ciphers == []


async def test_an_expired_certificate_is_refused(tmp_path: Path, certificates: Certificates) -> None:
    async with served(tmp_path, certificates.expired_server) as there:
        with pytest.raises(StoreUnavailable, match="expired"):
            await stores(there.url(**parameters(certificates, MODES["verify-full"])))


async def test_the_client_shows_the_certificate_that_the_url_names(
    tmp_path: Path, certificates: Certificates, client: dict[str, str]
) -> None:
    async with served(tmp_path, certificates.server, clients_of=certificates.authority) as there:
        trusted = parameters(certificates, MODES["verify-full"])
        await stores(there.url(**trusted, **client))
        with pytest.raises(StoreUnavailable):
            await stores(there.url(**trusted))


async def test_a_root_certificate_that_goes_missing_later_makes_the_store_unavailable(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was right once, and may come back: no wrong setting."""
    monkeypatch.setenv("HOME", str(tmp_path))  # where the driver looks for it
    root = tmp_path / ".postgresql" / "root.crt"
    await asyncio.to_thread(root.parent.mkdir)
    await asyncio.to_thread(shutil.copy, certificates.authority, root)
    async with served(tmp_path, certificates.server) as there:
        database = Database(there.url(sslmode="verify-full"))
        async with database.read():
            pass
        await database.close()
        await asyncio.to_thread(root.unlink)
        with pytest.raises(StoreUnavailable, match=r"root certificate file .*root\.crt"):
            async with database.read():
                pass


@pytest.fixture
def client(certificates: Certificates) -> dict[str, str]:
    """The key is encrypted, and must be readable for its owner alone."""
    certificates.client_key.chmod(0o600)
    return {"sslcert": str(certificates.client), "sslkey": str(certificates.client_key), "sslpassword": KEY_PASSWORD}
