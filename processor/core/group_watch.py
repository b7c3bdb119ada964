"""Decides when a silent consumer group has to be joined with a new client.

A group is silent where no heartbeat is answered. While Kafka itself is away there is nothing to do: this client comes back with it,
knows what it published, and can still hand over cleanly. A new client would have to ask the channels' histories. Only where Kafka
answers other connections for as long as the patience does the client's look-up of its coordinator hang; and where its part in the
group has ended, no patience helps.
"""

from typing import Final

ASK_INTERVAL: Final = 2.0
"""Seconds between two questions whether Kafka answers."""


class GroupWatch:
    """Call `asks` often. Where it returns True, find out whether Kafka answers a new connection and call `answered` with the same `now`.

    Times are seconds of a monotonic clock. `patience` is how long a silent group is waited for while Kafka answers others.
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
        """The group is joined with a new client."""
        self._answering_since = None
