"""What each refusal of the realtime service means for what was refused.

Source: Ably's error codes. What is not listed is retried, since nothing may be lost; it shows in the metrics by code. One
kind of it is not retried for ever: a refusal of the message itself, again and again, would hold its partition's commits.
"""

from enum import Enum, auto

from processor.errors import ChannelRefused, FrameTooLarge, PublishRetry, TokenstreamError

PATIENCE = 300.0
"""Seconds."""


class Meaning(Enum):
    RETRY = auto()
    """Undetermined, or refused for now: the same frame again, after a wait."""
    SLOW_CONNECTION = auto()
    SLOW_CHANNEL = auto()
    SLOW_ALL = auto()
    TOO_LARGE = auto()
    CHANNEL = auto()
    """This channel, or this publisher on it, for good."""
    UNEXPLAINED = auto()
    """A refusal of this message (a code 4xxxx), not listed: the same frame again, until it seems to be for good."""
    ACCOUNT = auto()
    """Credentials or the whole account: nothing can be published until a person mends it."""


_MEANINGS: dict[int, Meaning] = {
    42911: Meaning.SLOW_CONNECTION,
    42921: Meaning.SLOW_CONNECTION,
    42924: Meaning.SLOW_CONNECTION,
    42913: Meaning.SLOW_CHANNEL,
    42914: Meaning.SLOW_CHANNEL,
    40001: Meaning.RETRY,  # the SDK's own, of a connection that has just ended
    40009: Meaning.TOO_LARGE,
    40010: Meaning.CHANNEL,
    40012: Meaning.CHANNEL,
    40013: Meaning.CHANNEL,
    40160: Meaning.CHANNEL,
    40161: Meaning.CHANNEL,
    40400: Meaning.CHANNEL,
    40401: Meaning.CHANNEL,
    93002: Meaning.CHANNEL,
}


def meaning(code: int, status: int) -> Meaning:
    """`code` is Ably's error code, `status` its HTTP status; the SDK gives them swapped for some local failures."""
    if code in _MEANINGS:
        return _MEANINGS[code]
    if 42900 <= code < 43000 or status == 429:
        return Meaning.SLOW_ALL
    if 40100 <= code < 40200 or 40300 <= code < 40400:
        return Meaning.ACCOUNT
    if 40400 <= code < 40500 or 40002 <= code <= 40099:
        return Meaning.CHANNEL
    if 40000 <= code < 50000:
        return Meaning.UNEXPLAINED
    return Meaning.RETRY


class Refusal(Exception):
    """The service answered a publish with an error. Inside this package only; others get what `error` makes of it."""

    def __init__(self, code: int, status: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.meaning = meaning(code, status)

    def error(self) -> TokenstreamError:
        if self.meaning is Meaning.TOO_LARGE:
            return FrameTooLarge(self.message)
        if self.meaning is Meaning.CHANNEL:
            return ChannelRefused(self.message, code=self.code)
        slow = self.meaning in {Meaning.SLOW_CONNECTION, Meaning.SLOW_CHANNEL, Meaning.SLOW_ALL}
        unexplained = self.meaning is Meaning.UNEXPLAINED
        return PublishRetry(self.message, code=self.code, slow_down=slow, unexplained=unexplained)


class Stubbornness:
    """Of the refusals of one frame: whether the same one, unexplained, has come for so long that it is for good."""

    __slots__ = ("_code", "_since")

    def __init__(self) -> None:
        self._code = 0
        self._since = 0.0

    def is_for_good(self, refusal: PublishRetry, now: float) -> bool:
        """To be asked for each. An answer that never came changes nothing; another refusal begins anew."""
        if not refusal.code:
            return False
        if not refusal.unexplained or refusal.code != self._code:
            self._code, self._since = refusal.code, now
        return refusal.unexplained and now - self._since >= PATIENCE
