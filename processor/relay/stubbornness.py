"""When a refusal that is not explained counts as permanent. Repeated without end, it would hold its partition's commits."""

from processor.errors import PublishRetry, RefusalKind

PATIENCE = 300.0
"""Seconds."""


class Stubbornness:
    """Of the refusals of one frame: whether the same one, unexplained, has been repeated for `PATIENCE` seconds."""

    __slots__ = ("_code", "_since")

    def __init__(self) -> None:
        self._code = 0
        self._since = 0.0

    def is_permanent(self, refusal: PublishRetry, now: float) -> bool:
        """Called for each refusal. An answer that never came changes nothing; another refusal restarts the time."""
        if not refusal.code:
            return False
        unexplained = refusal.kind is RefusalKind.UNEXPLAINED
        if not unexplained or refusal.code != self._code:
            self._code, self._since = refusal.code, now
        return unexplained and now - self._since >= PATIENCE
