"""Ably's message rates, as windows of one second."""

from collections import deque
from dataclasses import dataclass


class RateWindow:
    """At most `limit` messages in any trailing second."""

    __slots__ = ("_taken", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._taken: deque[float] = deque()

    def admits(self, count: int, now: float) -> bool:
        taken = self._taken
        while taken and taken[0] <= now - 1.0:
            taken.popleft()
        if len(taken) + count > self.limit:
            return False
        taken.extend([now] * count)
        return True


@dataclass(slots=True)
class ConnectionRates:
    """What one connection has published, accepted and attempted, and has been sent."""

    inbound: RateWindow
    severe: RateWindow
    outbound: RateWindow


class Limits:
    """Limits messages per connection and channel.

    50 messages/s per connection (42911) and per channel (42913) are accepted, and further ones refused one by one. An
    attempted rate of twenty times that closes the connection (42921). An array counts as its messages.
    Subscribers are sent at most `outbound` messages/s; further ones are dropped, with a notice of the discontinuity
    (80020).
    `requests` are REST batches per second (42918); in them a spec counts as one message of its channel.
    """

    def __init__(
        self, *, connection: int = 50, channel: int = 50, outbound: int = 50, severe: int = 1000, requests: int = 50
    ) -> None:
        self.requests = requests
        self._connection, self._channel, self._outbound, self._severe = connection, channel, outbound, severe
        self._connections: dict[str, ConnectionRates] = {}
        self._channels: dict[str, RateWindow] = {}

    def refuse(self, connection: str, channel: str, count: int, now: float) -> int | None:
        """The code a publish is refused with, or None; 42921 means: and the connection ends."""
        rates = self._rates(connection)
        if not rates.severe.admits(count, now):
            return 42921
        if not rates.inbound.admits(count, now):
            return 42911
        return None if self.take_channel(channel, now, count) else 42913

    def take_channel(self, channel: str, now: float, count: int = 1) -> bool:
        """Returns True if the channel's rate permits `count` messages, and counts them."""
        window = self._channels.get(channel)
        if window is None:
            window = self._channels[channel] = RateWindow(self._channel)
        return window.admits(count, now)

    def deliver(self, connection: str, count: int, now: float) -> bool:
        """Whether a subscriber may still be sent this."""
        return self._rates(connection).outbound.admits(count, now)

    def forget(self, connection: str) -> None:
        self._connections.pop(connection, None)

    def _rates(self, connection: str) -> ConnectionRates:
        found = self._connections.get(connection)
        if found is None:
            found = ConnectionRates(RateWindow(self._connection), RateWindow(self._severe), RateWindow(self._outbound))
            self._connections[connection] = found
        return found
