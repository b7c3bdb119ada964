"""Memory and processor time of processes, from Linux's /proc."""

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

INTERVAL = 0.25


class Sample(msgspec.Struct, frozen=True):
    """`at` is of the monotonic clock; `rss` in bytes; `cpu` the seconds used since the process began."""

    at: float
    rss: int
    cpu: float


def sample(pid: int) -> Sample | None:
    """None where the process is gone, or the system has no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return Sample(
        time.monotonic(), int(fields[21]) * os.sysconf("SC_PAGE_SIZE"), (int(fields[11]) + int(fields[12])) / ticks
    )


class Sampler:
    """Samples some processes while `run` runs: `samples` by name."""

    def __init__(self, pids: Mapping[str, int], interval: float = INTERVAL) -> None:
        self._pids = dict(pids)
        self._interval = interval
        self.samples: dict[str, list[Sample]] = {name: [] for name in pids}

    def sample(self) -> None:
        for name, pid in self._pids.items():
            if (taken := sample(pid)) is not None:
                self.samples[name].append(taken)

    async def run(self) -> None:
        while True:
            self.sample()
            await asyncio.sleep(self._interval)

    def cpu(self, name: str, since: float = 0.0) -> float:
        """Seconds used between the sample before `since`, or the first, and the last."""
        taken = self.samples[name]
        if not taken:
            return 0.0
        before = [one for one in taken if one.at <= since] or taken[:1]
        return taken[-1].cpu - before[-1].cpu
