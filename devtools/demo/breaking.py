"""The faults of the demo's fault board. Every fault is real, and ends by itself after a while."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable

from devtools.demo.web.server import Fault
from devtools.deployment import LocalDeployment

REFUSE_SECONDS = 15.0
BROKER_SECONDS = 6.0
STORAGE_SECONDS = 10.0
CUT_SECONDS = 1.5


class Breaker:
    """Faults that last run as tasks of `tasks`; each at most once at a time."""

    def __init__(self, deployment: LocalDeployment, tasks: asyncio.TaskGroup) -> None:
        self._deployment = deployment
        self._tasks = tasks
        self._active: set[str] = set()

    def faults(self) -> tuple[Fault, ...]:
        of_everything = (
            self._fault("relay", "Kill the relay", "SIGKILL, then start it again", self._kill_relay),
            self._fault("broker", "Stop the broker", f"no Kafka for {BROKER_SECONDS:g} s", self._stop_broker),
            self._fault("storage", "Stop storage", f"no writes for {STORAGE_SECONDS:g} s", self._stop_storage),
        )
        if self._deployment.realtime_server is None:
            return of_everything
        return (
            self._fault("cut", "Cut the connections", "every socket, at once", self._cut),
            self._fault("refuse", "Refuse 30 %", f"of all publishes, {REFUSE_SECONDS:g} s", self._refuse),
            *of_everything,
        )

    def _fault(self, name: str, title: str, description: str, act: Callable[[], Awaitable[None]]) -> Fault:
        said = {
            "cut": "All connections were cut; they come back by themselves.",
            "refuse": f"3 of 10 publishes are refused for {REFUSE_SECONDS:g} s.",
            "relay": "tokenstream was killed with SIGKILL and starts again.",
            "broker": f"Kafka stops, and comes back in about {BROKER_SECONDS:g} s.",
            "storage": f"The database takes no writes for {STORAGE_SECONDS:g} s.",
        }[name]

        async def inject() -> str:
            if name in self._active:
                return f"{title}: that is still going on."
            self._active.add(name)
            self._tasks.create_task(self._lasting(name, act))
            return said

        return Fault(name, title, description, inject, lambda: name in self._active)

    async def _lasting(self, name: str, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
        finally:
            self._active.discard(name)

    async def _cut(self) -> None:
        await self._deployment.fault({"cut": {}})
        await asyncio.sleep(CUT_SECONDS)

    async def _refuse(self) -> None:
        await self._deployment.fault({"nack": {"share": 0.3, "code": 42911}})
        await asyncio.sleep(REFUSE_SECONDS)
        await self._deployment.fault({})

    async def _kill_relay(self) -> None:
        await self._deployment.tokenstream.kill()
        await self._deployment.tokenstream.start()
        await self._deployment.tokenstream.ready()

    async def _stop_broker(self) -> None:
        await self._deployment.kafka.stop()
        await asyncio.sleep(BROKER_SECONDS)
        await self._deployment.kafka.start()

    async def _stop_storage(self) -> None:
        async with _locked(str(self._deployment.database)):
            await asyncio.sleep(STORAGE_SECONDS)


@contextlib.asynccontextmanager
async def _locked(database: str) -> AsyncIterator[None]:
    """Hold the write lock of a SQLite database: others wait, and then fail."""
    connection = await asyncio.to_thread(sqlite3.connect, database, isolation_level=None, check_same_thread=False)
    try:
        await asyncio.to_thread(connection.execute, "BEGIN EXCLUSIVE")
        yield
        await asyncio.to_thread(connection.execute, "ROLLBACK")
    finally:
        connection.close()
