"""A worker of the bench: many readers of a gateway in one process. Notes the arrival of each frame whose text begins
with a time.
"""

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import Any

from devtools.bench.worker_process import next_order, orders, say

AT_ONCE = 100
STAMPED = re.compile(rb'"data":"([0-9]{19}) ')
READY = b"event: ready"


@dataclass
class Readers:
    latencies: list[float] = field(default_factory=list)
    events: int = 0
    ready: int = 0
    lost: int = 0


class OneReader(asyncio.Protocol):
    def __init__(self, readers: Readers, path: str) -> None:
        self._readers = readers
        self._path = path
        self._tail = b""
        self.live = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.time_ns()
        found = STAMPED.findall(self._tail + data)
        self._tail = data[-40:] if not found else b""
        self._readers.events += len(found)
        self._readers.latencies += [(now - int(stamp)) / 1e9 for stamp in found]
        if not self.live.is_set() and READY in data:
            self.live.set()
            self._readers.ready += 1

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._readers.lost += 1
        self.live.set()


async def _open(readers: Readers, port: int, path: str, turns: asyncio.Semaphore) -> None:
    async with turns:
        _, reader = await asyncio.get_running_loop().create_connection(
            lambda: OneReader(readers, path), "127.0.0.1", port
        )
        await reader.live.wait()


async def main() -> None:
    lines = await orders()
    readers, turns = Readers(), asyncio.Semaphore(AT_ONCE)
    while (order := await next_order(lines)) is not None:
        if (paths := order.get("open")) is not None:
            began = time.monotonic()
            await asyncio.gather(*(_open(readers, order["port"], path, turns) for path in paths))
            say({"ready": readers.ready, "lost": readers.lost, "seconds": time.monotonic() - began})
        else:
            say(_figures(readers))
            readers.latencies.clear()
            readers.events = 0


def _figures(readers: Readers) -> dict[str, Any]:
    taken = sorted(readers.latencies)

    def at(part: float) -> float | None:
        return taken[min(len(taken) - 1, int(part * len(taken)))] if taken else None

    return {"events": readers.events, "lost": readers.lost, "p50": at(0.5), "p99": at(0.99), "max": at(1.0)}


if __name__ == "__main__":
    asyncio.run(main())
