"""The two clocks of the process. Decisions use `monotonic`; `wall` only labels what people read."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    monotonic: Callable[[], float] = time.monotonic
    """Seconds from an arbitrary start; never steps back."""
    wall: Callable[[], float] = time.time
    """Seconds since the epoch; may step either way."""

    def wall_ms(self) -> int:
        return int(self.wall() * 1000)
