"""The memory of the api is bounded, whatever is stored and however clients read. The process is a real one, with its defaults."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from devtools.stores import opened
from support.records import START, entry
from support.stores import new_store_url
from support.waiting import eventually
from topics.records import Status

MIB = 1024 * 1024
LIMIT = 384 * MIB
"""What the chart gives the api."""
BOUND = 320 * MIB
SERVER = Path(__file__).parent / "serve_store.py"
OPEN, SIZE = 40, 2_000_000


@dataclass
class Server:
    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def peak(self) -> int:
        """Most memory the process has had at any time, in bytes."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

    async def free(self) -> bool:
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/v1/channels/other/hydrate") as answer:
            return answer.status == 200


@asynccontextmanager
async def serving(kind: str, directory: Path, *, write_seconds: float) -> AsyncIterator[Server]:
    url = await new_store_url(kind, directory)
    async with opened(url) as store:
        for n in range(OPEN):
            await store.upsert_batch(
                [entry(f"r-{n}", offset=n, text="x\n" * (SIZE // 2), status=Status.STREAMING, started_at=START + n)]
            )
        await store.upsert_batch([entry("done", offset=OPEN, channel="other")])
    command = (str(SERVER), url, str(write_seconds))
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        yield Server(process.pid, port)
    finally:
        process.kill()
        await process.wait()


async def silent_clients(stack: AsyncExitStack, server: Server, paths: Sequence[str]) -> list[asyncio.StreamWriter]:
    """Clients that send their request and read nothing."""
    writers = []
    for path in paths:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        stack.callback(writer.close)
        writers.append(writer)
    return writers


@pytest.mark.parametrize(
    "kind", ["sqlite", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("postgres", "files"))]
)
async def test_pages_of_open_responses_are_read_to_the_end_in_bounded_memory(tmp_path: Path, kind: str) -> None:
    async with serving(kind, tmp_path, write_seconds=30) as server, aiohttp.ClientSession() as http:
        seen, before = [], ""
        while True:
            async with http.get(f"{server.url}/v1/channels/chat:1/hydrate?limit=20{before}") as answer:
                raw = await answer.read()
                assert len(raw) <= 8 * MIB
                page = await answer.json()
            seen += [item["responseId"] for item in page["items"]]
            if page["next"] is None:
                break
            before = f"&before={page['next']}"
        assert seen == [f"r-{n}" for n in reversed(range(OPEN))]
        assert server.peak() < BOUND


@pytest.mark.parametrize(("kind", "clients"), [("sqlite", 20), ("sqlite", 200), ("postgres", 200), ("files", 200)])
async def test_clients_that_read_nothing_are_bounded_and_leave_in_time(tmp_path: Path, kind: str, clients: int) -> None:
    async with serving(kind, tmp_path, write_seconds=3) as server, AsyncExitStack() as stack:
        paths = [f"/v1/channels/chat:1/{what}" for what in ("hydrate?limit=0", "responses")]
        await silent_clients(stack, server, [*paths, "/v1/responses/r-1", "/v1/responses/r-2"] * (clients // 4))
        # Those that are let in hold all there is, until they are ended; then others are served.
        await eventually(server.free, deadline=90, every=0.2)
        assert server.peak() < BOUND
