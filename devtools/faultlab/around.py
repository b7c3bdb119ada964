"""What some rows need around them: a small disk, a clock that can be stepped, a proxy before the broker, a key file."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from devtools.group_proxy import GroupProxy
from devtools.kafka import LocalKafka


class NotHere(Exception):
    """This machine lacks what the row needs; the message has what is missing."""


@contextlib.asynccontextmanager
async def small_disk(directory: Path, megabytes: int) -> AsyncIterator[Path]:
    """A file system of its own. Raises NotHere where this user may not mount one."""
    mounted = await asyncio.to_thread(
        subprocess.run,
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "faultlab", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        raise NotHere(f"a file system to fill needs root: {mounted.stderr.strip()}")
    try:
        yield directory
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", "-l", str(directory)], check=True)


class SkewedClock:
    """The wall clock of processes that run under libfaketime; their monotonic clock stays true."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        self.set(0)

    def set(self, seconds: int) -> None:
        """How far the clock is off from now on."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}s\n")
        fresh.replace(self._file)

    def environment(self) -> dict[str, str]:
        """Raises NotHere where libfaketime is not installed."""
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            raise NotHere("libfaketime is not installed (Debian: apt-get install faketime)")
        return {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }


@dataclass(slots=True)
class Around:
    """Each is there where the row asked for it. `broker`: the row's own, to be killed."""

    bootstrap: str = ""
    broker: LocalKafka | None = None
    proxy: GroupProxy | None = None
    key_file: Path | None = None
    disk: Path | None = None
    clock: SkewedClock | None = None
