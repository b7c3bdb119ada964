"""Decides when the relay must join a silent consumer group with a new client.

A group is silent if no heartbeat is answered.
While Kafka itself is unreachable, the current client is kept: it reconnects by itself, knows what it published, and
can still hand over cleanly. A new client would have to ask the channels' histories.
Only if Kafka answers other connections for the whole patience does the client's look-up of its coordinator hang.
If the client's membership has ended, there is nothing to wait for.
"""

from typing import Final

ASK_INTERVAL: Final = 2.0
"""Seconds between two questions whether Kafka answers."""


class GroupWatch:
    """Call `asks` often. If it returns True, find out whether Kafka answers a new connection, and call `answered`
    with the same `now`.

    Times are in seconds, monotonic. `patience` is how long to wait for a silent group while Kafka answers other
    connections.
    """

    __slots__ = ("_answering_since", "_asked", "_patience")

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._asked = float("-inf")
        self._answering_since: float | None = None

    def asks(self, now: float, *, silence: float, ended: bool) -> bool:
        """Returns whether to find out now if Kafka answers. `ended`: the client takes no part in the group any more."""
        if not ended and silence <= self._patience:
            self._answering_since = None
            return False
        if now - self._asked < ASK_INTERVAL:
            return False
        self._asked = now
        return True

    def answered(self, now: float, *, reachable: bool, ended: bool) -> bool:
        """Returns whether to join the group with a new client."""
        if not reachable:
            self._answering_since = None
            return False
        if self._answering_since is None:
            self._answering_since = now
        return ended or now - self._answering_since > self._patience

    def renewed(self) -> None:
        """Resets the watch, after the group was joined with a new client."""
        self._answering_since = None
