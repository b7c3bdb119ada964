"""Limits the rate of publishing: token buckets that are lowered on rate-limit answers and raised again (AIMD).

Rates are in messages per second; 0 means no limit. Time is `now` in seconds, monotonic.
"""

DECREASE = 0.7
LOWEST = 0.25
"""The lowest rate, as a share of the full one: refusals that do not depend on our rate must not stop a stream."""


class Pace:
    """A token bucket. Its rate falls at a refusal and recovers by a tenth of its full rate each second.

    `urgent` messages (a response's first frames) may put the bucket into debt, at most `burst` deep, so that a first
    token need not wait.
    Later messages repay the debt.
    """

    __slots__ = ("_burst", "_full", "_rate", "_slowed", "_tokens", "_updated")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._full = rate
        self._rate = rate
        self._burst = max(1.0, burst)
        self._tokens = self._burst
        self._updated = now
        self._slowed = now

    @property
    def rate(self) -> float:
        return self._rate

    def share(self, now: float) -> float:
        """The current rate as a share of the full one; 1 without a limit."""
        return self._rate_after(now - self._updated, now) / self._full if self._full > 0 else 1.0

    def delay(self, now: float, *, urgent: bool = False) -> float:
        """Returns the seconds until a message may be sent; 0 if it may be sent now."""
        if self._full <= 0:
            return 0.0
        self._refill(now)
        floor = 1.0 - self._burst if urgent else 1.0
        return 0.0 if self._tokens >= floor else (floor - self._tokens) / self._rate

    def spend(self, now: float) -> None:
        if self._full > 0:
            self._refill(now)
            self._tokens -= 1.0

    def slow_down(self, now: float) -> None:
        """Lowers the rate after a refusal by the service. Several refusals within a second count once."""
        if self._full > 0 and (now - self._slowed >= 1.0 or self._rate == self._full):
            self._refill(now)
            self._rate = max(self._full * LOWEST, self._rate * DECREASE)
            self._slowed = now
            self._tokens = min(self._tokens, 0.0)

    def _refill(self, now: float) -> None:
        elapsed = max(0.0, now - self._updated)
        self._updated = now
        self._tokens = min(self._burst, self._tokens + elapsed * self._rate)
        self._rate = self._rate_after(elapsed, now)

    def _rate_after(self, elapsed: float, now: float) -> float:
        if self._rate < self._full and now - self._slowed >= 1.0:
            return min(self._full, self._rate + elapsed * self._full / 10)
        return self._rate
