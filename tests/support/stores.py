"""Real stores for tests: a PostgreSQL server of the run's own, and an S3 server. Each starts when first asked for."""

import asyncio
import atexit
import functools
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path

from devtools.free_ports import free_port
from devtools.stores import LocalPostgres
from processor.ports.store import ResponseStore

S3_SERVER = Path(__file__).parents[2] / ".cache" / "venv-s3" / "bin" / "moto_server"
START_DEADLINE = 180.0
SQL = ("sqlite", "postgres")
KINDS = (*SQL, "files", "s3")


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


def rounds_for(url: str, full: int, on_s3: int) -> int:
    """Returns `full`, or `on_s3`, where a request costs 5 ms of processor time."""
    return on_s3 if url.startswith("s3:") else full


async def ids(store: ResponseStore, channel: str = "chat:1", limit: int = 100) -> list[str]:
    return [item.response_id for item in (await store.list_channel(channel, limit=limit)).items]
