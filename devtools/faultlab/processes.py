"""The processes of a row: started, watched, started again when they end by themselves, and measured."""

import asyncio
import sys
from collections.abc import Iterable, Mapping

from devtools.plain import READY
from devtools.process import TokenstreamProcess
from devtools.usage import sample
from devtools.waiting import eventually

RESTART_SECONDS = 1.0
READY_DEADLINE = 300.0  # a busy machine takes its time to start Python five times
MIB = 1024 * 1024


class PlainProcess(TokenstreamProcess):
    """The plain program; `ready` once its consumer has started."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(environment, "plain", program=(sys.executable, "-m", "devtools.plain"))

    async def is_ready(self) -> bool:
        return READY in self.log.read_text(errors="replace")


class Crew:
    """Processes that are kept running, as an orchestrator does: one that ends is started again a second later."""

    def __init__(self) -> None:
        self.processes: list[TokenstreamProcess] = []
        self.peaks: dict[str, float] = {}
        """The largest resident set of one process, in MiB, by role."""
        self.ended_by_themselves: list[str] = []
        self._left_alone: set[TokenstreamProcess] = set()

    async def add(self, process: TokenstreamProcess, *, ready: bool = True) -> TokenstreamProcess:
        await process.start()
        self.processes.append(process)
        if ready:
            await self.ready(process)
        return process

    @staticmethod
    async def ready(process: TokenstreamProcess) -> None:
        """Waits until it is ready. One that ends meanwhile is started again by `watch`."""

        async def is_ready() -> bool:
            return process.is_alive and await process.is_ready()

        await eventually(is_ready, deadline=READY_DEADLINE, every=0.5)

    def of(self, role: str) -> list[TokenstreamProcess]:
        return [process for process in self.processes if process.role == role]

    async def kill_and_restart(self, process: TokenstreamProcess, pause: float = RESTART_SECONDS) -> None:
        """SIGKILL, and a new start after `pause`; does not wait until it is ready."""
        self._left_alone.add(process)
        await process.kill()
        await asyncio.sleep(pause)
        await process.start()
        self._left_alone.discard(process)

    async def stop_and_restart(self, process: TokenstreamProcess) -> int:
        """SIGTERM, its end, and a new start. The exit code."""
        self._left_alone.add(process)
        code = await process.stop(READY_DEADLINE)
        await process.start()
        self._left_alone.discard(process)
        await self.ready(process)
        return code

    async def watch(self) -> None:
        """Never returns. Looks at all of them every half second."""
        while True:
            for process in tuple(self.processes):
                if process.returncode is None:
                    self._measure(process)
                elif process not in self._left_alone:
                    self.ended_by_themselves.append(f"{process.role} with {process.returncode}: {process.tail(3)}")
                    self._left_alone.add(process)
                    await asyncio.sleep(RESTART_SECONDS)
                    await process.start()
                    self._left_alone.discard(process)
            await asyncio.sleep(0.5)

    def _measure(self, process: TokenstreamProcess) -> None:
        if (taken := sample(process.pid)) is not None:
            self.peaks[process.role] = max(self.peaks.get(process.role, 0.0), taken.rss / MIB)

    async def close(self) -> None:
        await asyncio.gather(*(process.kill() for process in self.processes))


def resident(processes: Iterable[TokenstreamProcess]) -> float:
    """MiB of all of them now."""
    taken = [sample(one.pid) for one in processes if one.is_alive]
    return sum(one.rss for one in taken if one is not None) / MIB
