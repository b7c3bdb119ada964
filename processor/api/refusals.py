"""Logs refused credentials: the first at once, then at most one every ten seconds, with how many were not logged."""

from collections.abc import Callable
from time import monotonic

import structlog

from processor.telemetry.answers import ApiError

EVERY_SECONDS = 10.0

log = structlog.stdlib.get_logger("tokenstream.api")


class Refusals:
    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._next = 0.0
        self._unsaid = 0

    def note(self, error: ApiError, route: str, remote: str | None) -> None:
        """Anyone can make these, so they must not fill the log."""
        if error.status not in (401, 403):
            return
        if (now := self._clock()) < self._next:
            self._unsaid += 1
            return
        log.info(
            "credential_refused",
            status=error.status,
            reason=error.message,
            route=route,
            remote=remote,
            refused_before=self._unsaid,
        )
        self._next, self._unsaid = now + EVERY_SECONDS, 0
