"""The clocks of the process. Decisions use `monotonic`, the lease `since_boot`; `wall` only labels what people read."""

import time
from collections.abc import Callable
from dataclasses import dataclass


def _since_boot() -> float:
    """Seconds since the machine started, those in which it was suspended included; without them where it has no such clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True, slots=True)
class Clock:
    monotonic: Callable[[], float] = time.monotonic
    """Seconds from an arbitrary start; never steps back."""
    since_boot: Callable[[], float] = _since_boot
    """The same, and it goes on while the machine is suspended: what others decide meanwhile is measured by it."""
    wall: Callable[[], float] = time.time
    """Seconds since the epoch; may step either way."""

    def wall_ms(self) -> int:
        return int(self.wall() * 1000)
