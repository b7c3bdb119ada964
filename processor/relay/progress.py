"""Detects that publishing over a link makes no progress although the service accepts connections. Pure.

It is reported, and restarts nothing: every send without an answer in time has its client replaced in this process,
connection included.
A fault that many new clients do not change is outside and the same for all processes, and a restart would only add
takeovers.
"""

STANDSTILL = 300.0
"""Seconds."""
LATELY = 60.0
LONGEST_LOOK = 5.0
"""Seconds that one look counts at most: in the others the process itself did not run."""


class Progress:
    """Counts the seconds in which frames were sent, the service took connections, and no answer of any kind came.

    Any answer ends it, refusals too; so does an outage in which no connection is established, and a minute without a
    send, be it that nothing is to be sent or that Kafka is away.
    """

    __slots__ = ("_asked", "_connected", "_fruitless", "_looked")

    def __init__(self, now: float) -> None:
        self._looked = now
        self._asked = self._connected = float("-inf")
        self._fruitless = 0.0

    def asked(self, now: float) -> None:
        """Notes that a frame is handed to a connection."""
        self._asked = now

    def answered(self) -> None:
        self._fruitless = 0.0

    def connected(self, now: float) -> None:
        self._connected = now

    def look(self, now: float) -> None:
        """Counts the time since the last call, which should be about a second ago."""
        elapsed, self._looked = min(now - self._looked, LONGEST_LOOK), now
        if now - min(self._asked, self._connected) < LATELY:
            self._fruitless += elapsed
        else:
            self._fruitless = 0.0

    def standstill(self) -> str | None:
        """Returns what is wrong as a sentence, or None."""
        if self._fruitless < STANDSTILL:
            return None
        return f"the realtime service takes connections, but has answered nothing that was published over one of them for {STANDSTILL:.0f} s"
