"""When a repeated refusal without an explanation counts as permanent.

A frame that is retried without end would block the commits of its partition.
"""

from processor.errors import PublishRetry, RefusalKind

PERMANENT_AFTER = 300.0
"""Seconds."""


class PersistentRefusal:
    """Tracks the refusals of one frame, and detects one that is repeated for `PERMANENT_AFTER` seconds without an explanation."""

    __slots__ = ("_code", "_since")

    def __init__(self) -> None:
        self._code = 0
        self._since = 0.0

    def is_permanent(self, refusal: PublishRetry, now: float) -> bool:
        """Returns True if this refusal makes the frame unpublishable. Call it for each refusal.

        A missing answer changes nothing. A refusal with another code, or with an explanation, restarts the time.
        """
        if not refusal.code:
            return False
        unexplained = refusal.kind is RefusalKind.UNEXPLAINED
        if not unexplained or refusal.code != self._code:
            self._code, self._since = refusal.code, now
        return unexplained and now - self._since >= PERMANENT_AFTER
