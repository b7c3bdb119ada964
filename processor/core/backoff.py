"""How long to wait before trying again: exponential, capped, with full jitter drawn by the caller."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds. The n-th wait (from 0) is between half and the whole of `first * 2**n`, at most `cap`."""

    first: float = 0.1
    cap: float = 10.0

    def delay(self, attempt: int, chance: float) -> float:
        """`chance` is uniform in [0, 1)."""
        ceiling = min(self.cap, self.first * 2.0 ** min(attempt, 30))
        return ceiling * (0.5 + chance / 2)
