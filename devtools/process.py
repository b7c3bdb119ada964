"""A process of tokenstream, as the demo, the bench, the fault lab and the tests run it: settings, readiness, metrics, log, end."""

import contextlib
import functools
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import aiohttp

from devtools.children import POLL_SECONDS, Child, asked
from devtools.free_ports import HOST, free_port

PROGRAM = (sys.executable, "-m", "processor")
READY_SECONDS = 90.0


def prefixed(settings: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment variables of these settings."""
    return {f"TOKENSTREAM_{name}": value for name, value in settings.items()}


@functools.cache
def logs() -> tempfile.TemporaryDirectory[str]:
    """Where processes log that were given no file. It is removed when this process ends."""
    return tempfile.TemporaryDirectory(prefix="tokenstream-logs-")


class TokenstreamProcess(Child):
    """`tokenstream COMMAND` on a free port of its own; or another `program` that is started and asked like it.

    `environment` has its settings, prefixed.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        command: str = "relay",
        *,
        program: Sequence[str] = (),
        log: Path | None = None,
        name: str | None = None,
    ) -> None:
        self.role = command
        self.port = free_port()
        self.started_at = 0.0
        """Monotonic seconds, as of `ready_at`."""
        self.ready_at = 0.0
        log = log or Path(tempfile.mkstemp(prefix=f"{command}-", suffix=".log", dir=logs().name)[1])
        port_setting = "BRIDGE_PORT" if command == "bridge" else "HTTP_PORT"
        served = prefixed({"HTTP_HOST": HOST, port_setting: str(self.port)})
        arguments = tuple(program) or (*PROGRAM, command)
        super().__init__(name or f"The {command}", *arguments, log=log, environment={**environment, **served})

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    async def start(self) -> None:
        self.started_at = time.monotonic()
        await super().start()

    async def ready(self, deadline: float = READY_SECONDS, every: float = POLL_SECONDS) -> None:
        """Waits until it reports that it is ready. Raises ChildFailed if it ends, or is not ready in time."""
        await self.until_answers(f"{self.url}/readyz", deadline, every)
        self.ready_at = time.monotonic()

    async def is_ready(self) -> bool:
        """Raises ChildFailed when it ended by itself."""
        self.check()
        return (await self._ask("/readyz"))[0] == 200

    async def has_started(self) -> bool:
        """Returns True if it reports the state of its dependencies."""
        return "realtime" in await self.text("/readyz")

    async def text(self, path: str) -> str:
        """Returns what the process answers; empty while it answers nothing."""
        return (await self._ask(path))[1]

    async def metrics(self) -> dict[str, float]:
        """Returns its samples by name, those of one name summed; empty while it answers nothing."""
        return summed(await self.text("/metrics"))

    async def metric(self, name: str) -> float:
        """Returns the sum of a metric's samples, 0 where it has none. Raises aiohttp.ClientError where there is no answer."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/metrics") as answer:
            return summed(await answer.text())[name]

    def entries(self, event: str) -> list[dict[str, object]]:
        """Returns what it logged of this event, where it logs JSON."""
        lines = self.log.read_text(errors="replace").splitlines()
        found = [json.loads(line) for line in lines if f'"{event}"' in line]
        return [entry for entry in found if entry.get("event") == event]

    def moments(self, event: str) -> list[tuple[float, dict[str, object]]]:
        """Returns when it logged this event, by the monotonic clock, and the fields of the entry."""
        shift = time.time() - time.monotonic()
        return [
            (datetime.fromisoformat(str(entry["time"])).timestamp() - shift, entry) for entry in self.entries(event)
        ]

    async def _ask(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as http:
            return await asked(http, f"{self.url}{path}")


@contextlib.asynccontextmanager
async def running(process: TokenstreamProcess) -> AsyncIterator[TokenstreamProcess]:
    """Starts it, and yields it once it is ready; stopped at the end."""
    try:
        await process.start()
        await process.ready()
        yield process
    finally:
        await process.stop()


def summed(text: str) -> dict[str, float]:
    """Returns the samples of a scrape by name, those of one name summed; 0 for what is not there."""
    found: dict[str, float] = defaultdict(float)
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name.partition("{")[0]] += float(value)
    return found
