"""Computes the delay before a retry. The delay is exponential and capped; half of it is jitter, which the caller draws."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Bounds of the delays, in seconds. The n-th delay (from 0) is between half and the whole of `min(cap, first *
    2**n)`.
    """

    first: float = 0.1
    cap: float = 10.0

    def delay(self, attempt: int, chance: float) -> float:
        """Returns the delay in seconds. `chance` is uniform in [0, 1)."""
        ceiling = min(self.cap, self.first * 2.0 ** min(attempt, 30))
        return ceiling * (0.5 + chance / 2)
